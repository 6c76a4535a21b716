"""What is measured, and the goals it is held to.

Standard library only: the process that starts the measurements must stay small, because on Linux a process's
peak memory (ru_maxrss) is at least what its parent had when it started it.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias

Kind: TypeAlias = Literal["release", "statistics", "glm", "dataset"]
Row: TypeAlias = dict[str, Any]
"""One case's figures, as they stand in proofs.json."""

SIGMAS: Mapping[Kind, int] = {"release": 400, "statistics": 400, "glm": 20_001}
"""Deviation of the noise by statement; a dataset's enrolment has none."""


@dataclass(frozen=True)
class Case:
    """One line of the table.

    dimension: entries of the update, or columns of the dataset; records: what training goes through and what
    a data-bound statement is about, None for the shipped forecast data's; proofs: how many distinct proofs
    are verified together; goals: upper limits, by the row's key.
    """

    statement: Kind
    dimension: int
    records: int | None
    proofs: int = 1
    goals: Mapping[str, float] = field(default_factory=dict)

    @property
    def title(self) -> str:
        """What to call it in tables and pictures."""
        if self.statement == "release":
            many = f"{self.proofs} releases together" if self.proofs > 1 else "release"
            return f"{many}, d = {self.dimension:,}"
        return f"{self.statement}, {self.dimension:,} × {self.records:,}"


def _goals(prove_cpu: float, native: float, independent: float, proof_bytes: int) -> dict[str, float]:
    return {
        "prove_cpu_s": prove_cpu,
        "verify_native_s": native,
        "verify_independent_s": independent,
        "proof_bytes": proof_bytes,
    }


CASES = (
    Case("release", 256, 1000),
    Case("release", 1361, None),
    Case("release", 4088, 1000, goals=_goals(1.4, 0.035, 0.8, 6_000)),
    Case("release", 27_000, 1000, goals=_goals(7.5, 0.1, 2.5, 24_000)),
    Case("release", 131_072, 1000, goals={"prove_peak_mb": 1500}),
    Case("dataset", 57, 4000),
    Case("dataset", 1000, 4000),
    Case("statistics", 1000, 4000, goals=_goals(8, 0.1, 3, 30_000)),
    Case("glm", 57, 4000, goals=_goals(5, 0.1, 3, 30_000)),
    Case("glm", 57, 40_000),
    Case("release", 1361, None, proofs=100, goals={"verify_wall_s": 1.0}),
)
