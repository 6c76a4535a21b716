"""What is measured, and the goals it is held to. Standard library only, as `deploy.bench.cases`."""

from dataclasses import dataclass
from typing import Literal, TypeAlias, get_args

from deploy.bench.cases import Row

Part: TypeAlias = Literal["federation", "audit", "one_by_one", "independent", "log", "log_audit"]
PARTS: tuple[Part, ...] = get_args(Part)

TITLES: dict[Part, str] = {
    "federation": "the federation's bundle",
    "audit": "auditing it",
    "one_by_one": "one proof at a time, in one process",
    "independent": "the independent verifier",
    "log": "the long log's proofs",
    "log_audit": "auditing the long log",
}

SECONDS_A_PROOF, PROOF_US = 0.06, 1000.0
"""Goals: 1,000 proofs in 60 seconds; a proof from the log in a millisecond."""


@dataclass(frozen=True)
class Scale:
    """How much is generated: rounds and participants of the federation, entries of the long log (4 at least).

    sample: how many proofs the independent verifier is asked about.
    """

    rounds: int = 100
    participants: int = 10
    log_entries: int = 1_000_000
    sample: int = 5

    @property
    def proofs(self) -> int:
        """In the federation's bundle: one a slot."""
        return self.rounds * self.participants

    def goals(self) -> Row:
        """Upper limits, by the figure's name."""
        return {
            "seconds_native": SECONDS_A_PROOF * self.proofs,
            "inclusion_proof_us": PROOF_US,
            "consistency_proof_us": PROOF_US,
        }


BASELINES = {
    "seconds_native": "seconds_one_by_one",
    "inclusion_proof_us": "root_from_leaves_us",
    "consistency_proof_us": "root_from_leaves_us",
}
"""What each figure with a goal is compared with: the same work done plainly, in the same run."""
