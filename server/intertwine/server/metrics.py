"""Metrics in Prometheus' format, computed from the log, and from the table of replies that did not get there.

The processes that drive runs come and go; both stay. Each scrape reads the entries that are new. Labels
take few values: states and verdicts of the protocol, tasks of runs that were planned, and names of checks,
of which those beyond `MOST_LABELS` count as "other".
"""

import itertools
import threading
from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from intertwine.protocols.entries import (
    BeaconEntry,
    Entry,
    Failure,
    ModelEntry,
    Outcome,
    Publication,
    RoundOpened,
    decode_entry,
)
from intertwine.protocols.round import RoundId
from intertwine.server.store import Store
from intertwine.server.views import participant_views

MOST_LABELS = 64
PHASE_BOUNDS = (1.0, 2.0, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 900.0, 3600.0)
"""Upper bounds of the phases' buckets, in seconds; entries' times are whole seconds."""
VERIFICATION_BOUNDS = (0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0)
_AT_ONCE = 1000
_RUN_STATES = ("launched", "running", "finished", "failed", "stopped")


class Histogram:
    """How many values lie at or below each bound, and their sum."""

    def __init__(self, bounds: Sequence[float]) -> None:
        self._bounds = bounds
        self._counts = [0] * (len(bounds) + 1)
        self._sum = 0.0

    def add(self, value: float) -> None:
        """Count a value; one below zero, after a clock was set back, as zero."""
        value = max(0.0, value)
        self._counts[bisect_left(self._bounds, value)] += 1
        self._sum += value

    def buckets(self) -> tuple[list[tuple[str, float]], float]:
        """Prometheus' cumulative buckets, and the sum."""
        names = [*map(str, self._bounds), "+Inf"]
        return [
            (name, float(total))
            for name, total in zip(names, itertools.accumulate(self._counts), strict=True)
        ], self._sum


class LogMetrics(Collector):
    """Reads what is new in a store's log whenever it is collected; several scrapes take their turn."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._lock = threading.Lock()
        self._size = 0
        self._opened: dict[RoundId, int] = {}
        self._drawn: dict[RoundId, int] = {}
        self._phases = {name: Histogram(PHASE_BOUNDS) for name in ("commit", "release", "round")}
        self._verification = Histogram(VERIFICATION_BOUNDS)
        self._verdicts: Counter[str] = Counter()
        self._rejections: Counter[str] = Counter()
        self._models: Counter[str] = Counter()

    def text(self) -> bytes:
        """All metrics, as Prometheus scrapes them."""
        registry = CollectorRegistry(auto_describe=False)
        registry.register(self)
        return generate_latest(registry)

    def describe(self) -> Iterable[Metric]:
        """Nothing: what there is depends on the log."""
        return ()

    def collect(self) -> Iterator[Metric]:
        """Each metric with its values now."""
        with self._lock:
            while new := self._store.entries(self._size, self._size + _AT_ONCE):
                for data in new:
                    self._count(decode_entry(data))
                self._size += len(new)
            yield from self._from_log()
        yield from self._from_tables()

    def _count(self, entry: Entry) -> None:
        match entry:
            case RoundOpened():
                self._opened[entry.round] = entry.time
            case BeaconEntry():
                self._drawn[entry.round] = entry.time
                self._phases["commit"].add(entry.time - self._opened.get(entry.round, entry.time))
            case ModelEntry():
                drawn = self._drawn.pop(entry.round, entry.time)
                self._phases["release"].add(entry.time - drawn)
                self._phases["round"].add(entry.time - self._opened.pop(entry.round, drawn))
            case Failure():
                self._drawn.pop(entry.round, None)
                self._opened.pop(entry.round, None)
            case Outcome():
                self._count_outcome(entry)
            case Publication():
                self._models[entry.round.task] += 1

    def _count_outcome(self, entry: Outcome) -> None:
        self._verdicts[entry.verdict] += 1
        if entry.verdict != "aborted":
            self._verification.add(entry.verify_ms / 1000)
        if entry.verdict == "rejected":
            _count_check(self._rejections, entry.check)

    def _from_log(self) -> Iterator[Metric]:
        yield GaugeMetricFamily("intertwine_log_entries", "Entries of the log.", self._size)
        phases = HistogramMetricFamily(
            "intertwine_round_phase_seconds", "How long a round's phases took.", labels=["phase"]
        )
        for name, histogram in self._phases.items():
            phases.add_metric([name], *histogram.buckets())
        yield phases
        verification = HistogramMetricFamily("intertwine_verification_seconds", "Verifying one release.")
        verification.add_metric([], *self._verification.buckets())
        yield verification
        yield _counter("intertwine_slots", "Slots by outcome.", "verdict", self._verdicts)
        yield _counter("intertwine_models", "Published models.", "task", self._models)

    def _from_tables(self) -> Iterator[Metric]:
        states = Counter(run.state for run in self._store.runs())
        members = Counter("revoked" if one.revoked else "enrolled" for one in participant_views(self._store))
        yield _gauge("intertwine_runs", "Runs by state.", {state: states[state] for state in _RUN_STATES})
        people = {state: members[state] for state in ("enrolled", "revoked")}
        yield _gauge("intertwine_participants", "Participants by state.", people)
        rejections = self._rejections.copy()
        for check, count in sorted(self._store.rejections().items()):
            _count_check(rejections, check, count)
        yield _counter("intertwine_rejections", "Rejected replies by failed check.", "check", rejections)


def _count_check(counts: Counter[str], check: str, count: int = 1) -> None:
    known = check in counts or len(counts) < MOST_LABELS
    counts[check if known else "other"] += count


def _counter(name: str, text: str, label: str, counts: Counter[str]) -> Metric:
    family = CounterMetricFamily(name, text, labels=[label])
    for value, count in sorted(counts.items()):
        family.add_metric([value], count)
    return family


def _gauge(name: str, text: str, counts: dict[str, int]) -> Metric:
    family = GaugeMetricFamily(name, text, labels=["state"])
    for value, count in counts.items():
        family.add_metric([value], count)
    return family
