"""Where a round's time goes, from when each entry of its log was seen."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean

from intertwine.protocols.entries import (
    BeaconEntry,
    Entry,
    ModelEntry,
    Outcome,
    ReleaseEntry,
    RoundOpened,
)

PHASES = {
    "commit_s": "commit exchange",
    "prove_s": "slowest proof",
    "release_s": "rest of the release exchange",
    "verify_s": "verification of the last release",
    "aggregate_s": "aggregation",
}
"""What to call each part of a round, in their order. Other releases are verified while more are awaited."""


@dataclass(frozen=True)
class Seen:
    """An entry of the log and when it was first seen, in seconds of a monotonic clock."""

    time: float
    entry: Entry


@dataclass(frozen=True)
class Round:
    """Seconds from each entry that ends a phase to the next.

    commit: from the round's opening to its beacon, training included; release: from the beacon to the last
    release, proving included; verify: to the last outcome; aggregate: to the model.
    """

    number: int
    commit: float
    release: float
    verify: float
    aggregate: float


def rounds(seen: Sequence[Seen]) -> list[Round]:
    """Every round that got a model, in their order."""
    times: dict[int, dict[str, float]] = {}
    for each in seen:
        match each.entry:
            case RoundOpened(round=identity) | BeaconEntry(round=identity) | ModelEntry(round=identity):
                number = identity.number
            case ReleaseEntry(release=signed):
                number = signed.body.slot.round.number
            case Outcome(slot=slot):
                number = slot.round.number
            case _:
                continue
        times.setdefault(number, {})[each.entry.type] = each.time
    return [_round(number, at) for number, at in sorted(times.items()) if "model" in at]


def mean_phases(measured: Sequence[Round], slowest_proofs: Mapping[int, float]) -> dict[str, float]:
    """The mean round, in seconds by the keys of `PHASES`.

    slowest_proofs: by round, how long its slowest participant took to prove; the rest of the release
    exchange is Flower's.
    """
    proving = fmean(slowest_proofs[each.number] for each in measured)
    return {
        "commit_s": fmean(each.commit for each in measured),
        "prove_s": proving,
        "release_s": max(0.0, fmean(each.release for each in measured) - proving),
        "verify_s": fmean(each.verify for each in measured),
        "aggregate_s": fmean(each.aggregate for each in measured),
    }


def _round(number: int, at: Mapping[str, float]) -> Round:
    return Round(
        number=number,
        commit=at["beacon"] - at["round"],
        release=at["release"] - at["beacon"],
        verify=at["outcome"] - at["release"],
        aggregate=at["model"] - at["outcome"],
    )
