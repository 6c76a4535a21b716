"""The plan of a run: everything a participant must know before it agrees to take part."""

import math
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from intertwine.protocols.accounting import Assurance, Loss, release_rho, sampled_loss
from intertwine.protocols.document import Decimal, Document, Hex32, Name
from intertwine.protocols.mechanism import (
    FULL_LOT,
    MAX_COLUMNS,
    GlmMechanism,
    Mechanism,
    ReleaseMechanism,
)

MAX_DIMENSION = 131_072


class Plan(Document):
    """One run of one task.

    Privacy: each round every participant releases u = g + z of shape (dimension,), z discrete Gaussian with
    standard deviation sigma, proven. What is proven of g is the mechanism's. record_norm is the L2 bound on
    what one record contributes to g, in real units, and record_bound the same in integer units; so one unit
    of u is record_norm / record_bound. The bound is attested if the mechanism is a release, and otherwise
    proven, and then fixed by the mechanism. For a glm, record_norm bounds a record's features: its u is
    in units of the mechanism's residual_norm.

    initial, template: SHA-256 of the parameters that round 1 starts from, and of the task's ONNX template,
    which together with the published parameters is the published model file (see `model_file`).
    """

    version: Literal["intertwine/plan/v3"] = "intertwine/plan/v3"
    deployment: Hex32
    run: Name
    task: Name
    model: Hex32
    dimension: Annotated[int, Field(ge=1, le=MAX_DIMENSION)]
    rounds: Annotated[int, Field(ge=1, le=1000)]
    mechanism: Mechanism
    adjacency: Literal["zero-out"] = "zero-out"
    beacon: Literal["M1"] = "M1"
    sigma: Literal[50, 100, 200, 400, 2049, 5001, 20001]
    record_norm: Decimal
    record_bound: Annotated[int, Field(ge=1)]
    delta: Decimal
    learning_rate: Decimal
    momentum: Decimal
    normaliser: Decimal
    average_last: Annotated[int, Field(ge=1, le=1000)]
    participants: Annotated[list[Name], Field(min_length=1, max_length=10_000)]
    quorum: Annotated[int, Field(ge=1)]
    deadline_s: Annotated[int, Field(ge=1, le=86_400)]
    initial: Hex32
    template: Hex32

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if len(set(self.participants)) != len(self.participants):
            raise ValueError("participants: a name occurs twice")
        if self.quorum > len(self.participants):
            raise ValueError(f"quorum: {self.quorum} is more than the {len(self.participants)} participants")
        if self.average_last > self.rounds:
            raise ValueError("average_last: must not be larger than rounds")
        if not 0 < float(self.delta) < 1:
            raise ValueError("delta: must lie strictly between 0 and 1")
        if not 0 <= float(self.momentum) < 1:
            raise ValueError("momentum: must lie in [0, 1)")
        for field in ("record_norm", "learning_rate", "normaliser"):
            value = float(getattr(self, field))
            if not (math.isfinite(value) and value > 0):
                raise ValueError(f"{field}: must be positive")
        return self

    @model_validator(mode="after")
    def _fits_its_mechanism(self) -> Self:
        if isinstance(self.mechanism, ReleaseMechanism):
            if self.record_bound > self.mechanism.update_bound:
                raise ValueError("record_bound: must not be larger than update_bound")
            return self
        if self.record_bound != self.mechanism.record_bound():
            raise ValueError(f"record_bound: must be {self.mechanism.record_bound()} for this mechanism")
        if not 1 <= self.mechanism.columns(self.dimension) <= MAX_COLUMNS:
            raise ValueError(f"dimension: must come from 1 to {MAX_COLUMNS} columns for this mechanism")
        return self

    def losses(self, eta: float) -> dict[Assurance, Loss]:
        """What one release costs, at each level that it can be stated for.

        eta: total variation distance of one release's noise from the ideal one. Nothing is claimed for a
        whole participant by a data-bound mechanism, which does not bound how many records one has. Only a
        glm proves its lot, so nothing else is amplified by sampling.
        """
        if isinstance(self.mechanism, ReleaseMechanism):
            bounds = {
                Assurance.PROVEN_PARTICIPANT: self.mechanism.update_bound,
                Assurance.ATTESTED_RECORD: self.record_bound,
            }
            return {level: Loss(release_rho(bound, self.sigma), eta=eta) for level, bound in bounds.items()}
        if isinstance(self.mechanism, GlmMechanism) and self.mechanism.sampled:
            amplified = sampled_loss(self.record_bound, self.sigma, self.mechanism.lot / FULL_LOT)
            return {Assurance.PROVEN_RECORD: amplified + Loss(eta=eta)}
        return {Assurance.PROVEN_RECORD: Loss(release_rho(self.record_bound, self.sigma), eta=eta)}
