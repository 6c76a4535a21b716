"""The plan of a run: everything a participant must know before it agrees to take part."""

import math
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from intertwine.protocols.accounting import Guarantee, guarantee, release_rho
from intertwine.protocols.document import Decimal, Document, Hex32, Name

MAX_DIMENSION = 131_072
MAX_UPDATE_BOUND = 2**20 - 2**13  # leaves room for the noise below the statement's |u| < 2^20


class Plan(Document):
    """One run of one task.

    Privacy: each round every participant releases u = g + z, with ||g||_2 <= update_bound proven, z discrete
    Gaussian with standard deviation sigma proven, and g a sum of record vectors of norm at most
    record_bound, attested. All three are in integer units; one unit is record_norm / record_bound.
    """

    version: Literal["intertwine/plan/v1"] = "intertwine/plan/v1"
    deployment: Hex32
    run: Name
    task: Name
    model: Hex32
    dimension: Annotated[int, Field(ge=1, le=MAX_DIMENSION)]
    rounds: Annotated[int, Field(ge=1, le=1000)]
    statement: Literal["release"] = "release"
    adjacency: Literal["zero-out"] = "zero-out"
    beacon: Literal["M1"] = "M1"
    sigma: Literal[50, 100, 200, 400]
    record_norm: Decimal
    record_bound: Annotated[int, Field(ge=1, le=MAX_UPDATE_BOUND)]
    update_bound: Annotated[int, Field(ge=1, le=MAX_UPDATE_BOUND)]
    delta: Decimal
    learning_rate: Decimal
    momentum: Decimal
    normaliser: Decimal
    average_last: Annotated[int, Field(ge=1, le=1000)]
    participants: Annotated[list[Name], Field(min_length=1, max_length=10_000)]
    quorum: Annotated[int, Field(ge=1)]
    deadline_s: Annotated[int, Field(ge=1, le=86_400)]
    initial: Hex32

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if len(set(self.participants)) != len(self.participants):
            raise ValueError("participants: a name occurs twice")
        if self.quorum > len(self.participants):
            raise ValueError(f"quorum: {self.quorum} is more than the {len(self.participants)} participants")
        if self.record_bound > self.update_bound:
            raise ValueError("record_bound: must not be larger than update_bound")
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

    def participant_rho(self) -> float:
        """The zCDP of one release towards a whole participant (proven)."""
        return release_rho(self.update_bound, self.sigma)

    def record_rho(self) -> float:
        """The zCDP of one release towards one record (attested)."""
        return release_rho(self.record_bound, self.sigma)

    def cost(self, rho: float, eta: float) -> Guarantee:
        """What all rounds of this plan cost, `rho` and `eta` being those of one release."""
        return guarantee(self.rounds * rho, float(self.delta), self.rounds * eta)
