"""The release statement (`RELEASE.md`): a vector of bounded norm, honestly noised."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

from intertwine.protocols.errors import VerificationError
from intertwine.zk.independent.circuit import Cells, Constraints, Entry, Statement, range_table
from intertwine.zk.independent.noise import Noise, check_sigma, parse_update

MAX_NORM_BOUND = 1 << 27
UPDATE_BOUND = 1 << 21


@dataclass(frozen=True)
class Release:
    """Public inputs of one release; update: the bytes of u."""

    context: bytes
    beacon: bytes
    slot: bytes
    sigma: int
    norm_bound: int
    randomness: tuple[bytes, ...]
    gradient: tuple[bytes, ...]
    update: bytes

    def check(self) -> None:
        """VerificationError if a public input is out of its range."""
        check_sigma(self.sigma)
        if not 1 <= self.norm_bound <= MAX_NORM_BOUND:
            raise VerificationError("norm_bound_range", f"the norm bound is not from 1 to {MAX_NORM_BOUND}.")
        self.noise.check_count()
        if len(self.gradient) != len(self.noise.pages):
            raise VerificationError(
                "commitment_count",
                f"there are {len(self.gradient)} commitments to {len(self.noise.pages)} pages.",
            )

    @cached_property
    def noise(self) -> Noise:
        """The noise; VerificationError if the update is not one."""
        update = parse_update(self.update, UPDATE_BOUND)
        return Noise(self.beacon, self.slot, self.sigma, update, self.randomness)

    def statement(self) -> Statement:
        """The statement; call `check` first."""
        noise, gradient = self.noise, {f"g[{page}]": point for page, point in enumerate(self.gradient)}
        return Statement(
            name=f"release sigma={self.sigma} dimension={len(noise.update)} norm_bound={self.norm_bound}",
            inputs=[
                ("context", self.context),
                ("beacon", self.beacon),
                ("slot", self.slot),
                ("sigma", self.sigma),
                ("norm_bound", self.norm_bound),
                ("dimension", len(noise.update)),
                ("randomness", self.randomness),
                ("gradient", self.gradient),
                ("update", noise.digest),
            ],
            points=[*self.randomness, *self.gradient],
            committed=noise.committed | gradient,
            witness=[*noise.witness, "slack"],
            constraints=self._constraints,
            public=self._public,
        )

    def _public(self, theta: int) -> dict[str, Sequence[int]]:
        return {**self.noise.public(), "slack_weight": [1 << 11 * row for row in range(5)]}

    def _constraints(self, cells: Cells) -> Constraints:
        squares = sum(cells[f"g[{page}]"] ** 2 for page in self.noise.pages)
        slack = cells["slack_weight"] * cells["slack"]
        bound = self.norm_bound**2 * cells["row_first"]
        return Constraints(
            gates={**self.noise.gates(cells)},
            entries=[*self.noise.entries(cells), Entry("slack", range_table(), (cells["slack"],))],
            sums={"norm": squares + slack - bound},
        )
