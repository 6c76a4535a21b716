"""What release, statistics and glm share: u = g + z with discrete Gaussian z (`ARGUMENT.md` section 5)."""

import hashlib
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

from intertwine.protocols.errors import VerificationError
from intertwine.zk.independent.circuit import Cells, Entry, Table, range_table
from intertwine.zk.independent.domain import page_count, pages_of
from intertwine.zk.independent.sampler import SAMPLERS, Sampler, noise_bits, thresholds

LIMBS = 5
MAX_DIMENSION = 131_072
ENTRY_BYTES = 8


def check_sigma(sigma: int) -> None:
    """VerificationError `sigma_supported` unless there is a sampler for σ."""
    if sigma not in SAMPLERS:
        raise VerificationError("sigma_supported", f"there is no sampler for sigma {sigma}.")


def parse_update(data: bytes, bound: int, dimension: int | None = None) -> tuple[int, ...]:
    """u from 8 bytes an entry, little-endian two's complement.

    bound: all |u_i| are below. dimension: what the statement says the length is, if it says so.
    VerificationError `update_encoding` or `update_range`.
    """
    count, rest = divmod(len(data), ENTRY_BYTES)
    if rest or not 1 <= count <= MAX_DIMENSION:
        raise VerificationError(
            "update_encoding", f"the update is not 1 to {MAX_DIMENSION} entries of 8 bytes."
        )
    update = struct.unpack(f"<{count}q", data)
    if any(abs(entry) >= bound for entry in update):
        raise VerificationError("update_range", f"an entry of the update is not below {bound}.")
    if dimension not in {None, count}:
        raise VerificationError("update_encoding", f"the update has {count} entries, not {dimension}.")
    return update


@dataclass(frozen=True)
class Noise:
    """The noise of one update.

    beacon, slot: 32 bytes each. sigma: a key of `SAMPLERS`. update: u. randomness: [r[p,l]], page by page,
    level by level.
    """

    beacon: bytes
    slot: bytes
    sigma: int
    update: Sequence[int]
    randomness: tuple[bytes, ...]

    @cached_property
    def sampler(self) -> Sampler:
        """The levels of σ."""
        return SAMPLERS[self.sigma]

    @cached_property
    def pages(self) -> range:
        """The pages of u."""
        return range(page_count(len(self.update)))

    @cached_property
    def levels(self) -> range:
        """The sampler's levels."""
        return range(len(self.sampler.steps))

    @cached_property
    def indices(self) -> list[str]:
        """`p,l` page by page, level by level."""
        return [f"{page},{level}" for page in self.pages for level in self.levels]

    @cached_property
    def committed(self) -> dict[str, bytes]:
        """The columns r[p,l]."""
        return {f"r[{index}]": point for index, point in zip(self.indices, self.randomness, strict=True)}

    @property
    def digest(self) -> bytes:
        """SHA-256 of u, 8 bytes an entry."""
        return hashlib.sha256(struct.pack(f"<{len(self.update)}q", *self.update)).digest()

    def check_count(self) -> None:
        """VerificationError `commitment_count` unless there is one commitment per page and level."""
        expected = len(self.pages) * len(self.levels)
        if len(self.randomness) != expected:
            raise VerificationError(
                "commitment_count",
                f"there are {len(self.randomness)} commitments to randomness, not {expected}.",
            )

    @property
    def witness(self) -> list[str]:
        """The columns of the witness."""
        names = ["carry", "sign", "size", *_limbs("below"), *_limbs("above")]
        return [f"{name}[{index}]" for index in self.indices for name in names]

    def public(self) -> dict[str, Sequence[int]]:
        """Rows of u[p] and b[p,l]."""
        bits = noise_bits(self.beacon, self.slot, self.sampler, self.update)
        update = {f"u[{page}]": entries for page, entries in enumerate(pages_of(self.update))}
        return update | {
            f"b[{page},{level}]": bits[page][level] for page in self.pages for level in self.levels
        }

    def gates(self, cells: Cells) -> dict[str, int]:
        """carry_boolean, sign_boolean and noise, page by page."""
        gates = {}
        for page in self.pages:
            drawn = 0
            for level, step in enumerate(self.sampler.steps):
                index = f"{page},{level}"
                carry, sign = cells[f"carry[{index}]"], cells[f"sign[{index}]"]
                gates[f"carry_boolean[{index}]"] = carry * carry - carry
                gates[f"sign_boolean[{index}]"] = sign * sign - sign
                drawn += step * (1 - 2 * sign) * cells[f"size[{index}]"]
            gates[f"noise[{page}]"] = cells[f"u[{page}]"] - cells[f"g[{page}]"] - drawn
        return gates

    def entries(self, cells: Cells) -> list[Entry]:
        """The limbs and the interval of each page and level."""
        table = Table("threshold", 1, thresholds(self.sampler.level_sigma, self.sampler.bits))
        entries = []
        for index in self.indices:
            below, above = ([f"{name}[{index}]" for name in _limbs(side)] for side in ("below", "above"))
            entries += [Entry(name, range_table(), (cells[name],)) for name in below + above]
            drawn = self._drawn(cells, index)
            interval = (
                cells[f"size[{index}]"],
                drawn - _joined(cells, below),
                drawn + 1 + _joined(cells, above),
            )
            entries.append(Entry(f"interval[{index}]", table, interval))
        return entries

    def _drawn(self, cells: Cells, index: str) -> int:
        """t′ = r + b − 2^B·carry − 2^(B−1)·sign."""
        bits = self.sampler.bits
        borrowed = (cells[f"carry[{index}]"] << bits) + (cells[f"sign[{index}]"] << bits - 1)
        return cells[f"r[{index}]"] + cells[f"b[{index}]"] - borrowed


def _limbs(side: str) -> list[str]:
    return [f"{side}_{limb}" for limb in range(LIMBS)]


def _joined(cells: Cells, names: Sequence[str]) -> int:
    """Σ 2^(11j)·limb_j."""
    return sum(cells[name] << 11 * limb for limb, name in enumerate(names))
