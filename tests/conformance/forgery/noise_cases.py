"""Cheats in what the statements with noise share: random and public bits, thresholds, limbs."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial

import numpy as np

from intertwine.zk import noise, proof_file
from intertwine.zk.circuit import Circuit, Lookup, Table
from intertwine.zk.instance import Instance
from intertwine.zk.sampler import sampler
from tests.conformance.forgery.cases import IDENTITY, OPENING, add
from tests.conformance.forgery.plays import (
    BEACON,
    ROW,
    SLOT,
    Forged,
    Play,
    chosen_sampler,
    claim,
    fixed,
    glm_play,
    release_play,
    set_distance,
    set_limbs,
    statistics_play,
)


@dataclass(frozen=True)
class Place:
    """A level of a statement's noise. play: makes an honest play, with draws and a beacon if wished."""

    statement: str
    level: int
    play: Callable[..., Play]
    variant: str = ""

    @property
    def bits(self) -> int:
        return chosen_sampler(self.play()).bits

    @property
    def rows(self) -> tuple[tuple[int, ...], ...]:
        """Of the threshold table."""
        return chosen_sampler(self.play()).table.rows

    def drawn(self, uniform: int) -> Play:
        """A play in which the level's r + b is as wished in row ROW."""
        return self.play(draws={(self.level, ROW): uniform})

    def commit_bits(self, play: Play, total: int) -> None:
        """Commit to an r, whatever its size, that adds up to `total` with the public bits."""
        shared = noise.public_randomness(BEACON, SLOT, len(play.statement.update), play.statement.sigma)
        play.commit(f"r[0,{self.level}]", ROW, total - int(shared[self.level, ROW]))

    def breaks(self, gate: str) -> tuple[str]:
        return (f"{gate}[0,{self.level}]",)


def small_release(**options: object) -> Play:
    return release_play(dimension=5, sigma=2049, **options)  # type: ignore[arg-type]


PLACES = (
    Place("release", 0, release_play),
    Place("release", 1, small_release, "level-1"),
    Place("statistics", 0, statistics_play),
    Place("glm", 1, glm_play),
)


def carry_is_2(place: Place) -> Forged:
    play = place.drawn(12345)
    place.commit_bits(play, 12345 + 2 * 2**place.bits)
    play.set(f"carry[0,{place.level}]", ROW, 2)
    return play.forge()


def sign_is_2(place: Place) -> Forged:
    low = place.rows[30][1]
    play = place.drawn(low)
    place.commit_bits(play, low + 2 * 2 ** (place.bits - 1))
    play.set(f"carry[0,{place.level}]", ROW, 0)
    claim(play, place.level, sign=2)
    return play.forge()


def below_interval(place: Place) -> Forged:
    size, low, high = place.rows[40]
    play = place.drawn(low - 1)
    claim(play, place.level, size=size)
    set_limbs(play, "below", place.level, -1)
    set_distance(play, "above", place.level, high - low)
    return play.forge()


def above_interval(place: Place) -> Forged:
    size, low, high = place.rows[40]
    play = place.drawn(high)
    claim(play, place.level, size=size)
    set_distance(play, "below", place.level, high - low)
    set_limbs(play, "above", place.level, -1)
    return play.forge()


def smaller_sigma(place: Place) -> Forged:
    size, low, high = sampler(50).table.rows[20]
    play = place.drawn(low)
    claim(play, place.level, size=size)
    set_distance(play, "below", place.level, 0)
    set_distance(play, "above", place.level, high - 1 - low)
    return play.forge()


def limb_2048(place: Place) -> Forged:
    play = place.drawn(place.rows[40][1] + 5 + 2048 * 7)
    set_limbs(play, "below", place.level, 5 + 2048, 6)
    return play.forge()


def limb_minus_one(place: Place) -> Forged:
    play = place.drawn(place.rows[40][1] + 2047)
    set_limbs(play, "below", place.level, -1, 1)
    return play.forge()


def moved_threshold(place: Place, own_digest: bool) -> Forged:
    """One threshold is one less; the prover's entry lies between the two."""
    rows = list(place.rows)
    (size, low, middle), (following, _, high) = rows[250:252]
    rows[250:252] = [(size, low, middle - 1), (following, middle - 1, high)]
    play = place.drawn(middle - 1)
    claim(play, place.level, size=following)
    set_limbs(play, "below", place.level)
    set_distance(play, "above", place.level, high - middle)
    honest = proof_file.instance_of(play.statement)
    play.instance = replace(honest, circuit=with_table(honest.circuit, "threshold", tuple(rows)))
    play.transcript = None if own_digest else honest.transcript()
    return play.forge()


def with_table(circuit: Circuit, name: str, rows: tuple[tuple[int, ...], ...]) -> Circuit:
    """The circuit with another table of this name."""

    def swapped(lookup: Lookup) -> Lookup:
        table = lookup.table
        return replace(lookup, table=Table(name, table.tag, rows)) if table.name == name else lookup

    return replace(circuit, lookups=tuple(map(swapped, circuit.lookups)))


def update_plus_1(place: Place) -> Forged:
    play = place.play()
    play.add_to_update(ROW, 1)
    return play.forge()


def noise_halved(place: Place) -> Forged:
    """The dishonest participant of the demonstration."""
    play = place.play()
    exact = play.secrets["exact"]
    play.change(update=exact + np.round((play.statement.update - exact) / 2).astype(np.int64))
    return play.forge()


def level_dropped(place: Place) -> Forged:
    """Only the first, narrow level of the noise is added."""
    play = place.play()
    size, sign = (play.early[f"{name}[0,1]"] for name in ("size", "sign"))
    step = chosen_sampler(play).steps[1]
    for row in range(len(play.statement.update)):
        play.add_to_update(row, -step * (1 - 2 * sign[row]) * size[row])
    return play.forge()


def other_beacon(place: Place) -> Forged:
    """Every constraint holds for the public columns of a beacon that the prover likes better."""
    play = place.play(beacon=fixed("a better beacon"))
    wished = proof_file.instance_of(play.statement)
    play.change(beacon=BEACON)
    return with_public_columns(play, wished)


def with_public_columns(play: Play, wished: Instance) -> Forged:
    play.instance = replace(proof_file.instance_of(play.statement), public=wished.public)
    return play.forge()


def levels_traded(place: Place) -> Forged:
    """Both levels take each other's public bits."""
    return with_public_bits(place.play, lambda shared: shared[::-1])


def pages_traded() -> Forged:
    """The first entries of two pages take each other's public bits."""

    def traded(shared: np.ndarray) -> np.ndarray:
        order = np.arange(shared.shape[1])
        order[[0, 4088]] = (4088, 0)
        return shared[:, order]

    return with_public_bits(lambda: release_play(4089), traded)


def with_public_bits(make: Callable[[], Play], change: Callable[[np.ndarray], np.ndarray]) -> Forged:
    """A proof for public bits that are not the beacon's."""
    honest = noise.public_randomness
    noise.public_randomness = lambda *known: change(honest(*known))
    try:
        play = make()
        wished = proof_file.instance_of(play.statement)
    finally:
        noise.public_randomness = honest
    return with_public_columns(play, wished)


def bits_swapped(place: Place) -> Forged:
    """The random bits were chosen after the commitment that the statement names."""
    committed = place.play().statement
    play = place.play(draws={(place.level, ROW): 7})
    if place.statement == "release":
        points = replace(play.statement.commitments, randomness=committed.commitments.randomness)
        play.change(commitments=points)
    else:
        play.change(randomness=committed.randomness)
    return play.forge()


SIMPLE = (
    ("c_is_2", carry_is_2, "carry_boolean", "The carry of r + b is said to be 2."),
    ("sign_is_2", sign_is_2, "sign_boolean", "The sign bit is said to be 2: minus three times the noise."),
)
LOOKUPS = (
    ("t_off_by_one_low", below_interval, "t' is one below the interval of the claimed magnitude."),
    ("t_off_by_one_high", above_interval, "t' is one above the interval of the claimed magnitude."),
    ("smaller_sigma_table", smaller_sigma, "The interval is one of the table for a smaller sigma."),
    ("limb_2048", limb_2048, "A limb is 2048: the same distance, with the excess taken from the next limb."),
    ("limb_minus_one", limb_minus_one, "A limb is -1, the next one larger by one."),
)

for place in PLACES:
    kind, variant = place.statement, place.variant
    for name, cheat, gate, why in SIMPLE:
        add(kind, name, IDENTITY, why, partial(cheat, place), place.breaks(gate), variant)
    for name, cheat, why in LOOKUPS:
        add(kind, name, IDENTITY, why, partial(cheat, place), ("sum_end",), variant)
    for own, how in ((True, "own-digest"), (False, "true-digest")):
        why = "A threshold of the prover's table is one less, and its noise uses that."
        make = partial(moved_threshold, place, own)
        add(kind, "threshold_digest", IDENTITY, why, make, variant=f"{variant}-{how}".strip("-"))
    why = "The prover's update has one entry more by 1 than sum and noise."
    make = partial(update_plus_1, place)
    add(kind, "u_entry_plus_1", IDENTITY, why, make, ("noise[0]",), f"{variant}-proven".strip("-"))
    why = "All holds for public bits of another beacon."
    add(kind, "public_column_from_prover", IDENTITY, why, partial(other_beacon, place), variant=variant)
    why = "The random bits are not those of the commitment that the statement names."
    add(kind, "r_swapped", OPENING, why, partial(bits_swapped, place), variant=variant)
    if place.level == 1:
        why = "The two levels trade their public bits."
        make = partial(levels_traded, place)
        add(kind, "b_page_or_level_swapped", IDENTITY, why, make, variant="levels")
        why = "Only the first level of the noise is added."
        add(kind, "level_dropped", IDENTITY, why, partial(level_dropped, place), ("noise[0]",))

WHY_PAGES = "The first entries of two pages trade their public bits."
add("release", "b_page_or_level_swapped", IDENTITY, WHY_PAGES, pages_traded, variant="pages")
WHY_HALVED = "Half of the noise is added."
add("release", "noise_halved", IDENTITY, WHY_HALVED, partial(noise_halved, PLACES[0]), ("noise[0]",))
