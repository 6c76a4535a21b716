"""Single proofs of the demo as files: what `intertwine audit verify-proof` judges without anything else."""

from collections.abc import Iterator, Sequence
from pathlib import Path

from intertwine.protocols.aggregation import parameters_from_bytes, update_from_bytes
from intertwine.protocols.bundle import Bundle
from intertwine.protocols.dataset import DatasetContext
from intertwine.protocols.entries import (
    BeaconEntry,
    CommitEntry,
    DatasetEntry,
    Entry,
    Outcome,
    PlanEntry,
    ReleaseEntry,
)
from intertwine.protocols.files import write_atomic
from intertwine.protocols.plan import Plan
from intertwine.protocols.round import Commit, Release, RoundId, Signed, Slot
from intertwine.zk import proof_file
from intertwine.zk.dataset import PageStatement
from intertwine.zk.dataset_proof import Chain, extend
from intertwine.zk.round_proof import statement_for


def write_proof_files(bundle: Bundle, entries: Sequence[Entry], folder: Path) -> list[str]:
    """Write one proof of each kind: a page of each task's records, and each run's first release by verdict.

    Returns the names of the files.
    """
    folder.mkdir(parents=True, exist_ok=True)
    names = []
    for name, data in _Retraced(bundle, entries).files():
        write_atomic(folder / name, data)
        names.append(name)
    return names


class _Retraced:
    """The log's documents by what they belong to."""

    def __init__(self, bundle: Bundle, entries: Sequence[Entry]) -> None:
        self._bundle = bundle
        self._plans: dict[str, Plan] = {}
        self._commits: dict[Slot, Signed[Commit]] = {}
        self._beacons: dict[RoundId, bytes] = {}
        self._releases: list[Release] = []
        self._verdicts: dict[Slot, str] = {}
        self._datasets: list[DatasetEntry] = []
        self._chains: dict[str, Chain] = {}
        for entry in entries:
            self._add(entry)

    def files(self) -> Iterator[tuple[str, bytes]]:
        """Names and contents."""
        pages = {entry.dataset.body.task: entry for entry in reversed(self._datasets)}
        for task, entry in pages.items():
            yield f"{task}-records.json", self._page(entry)
        chosen = {
            (release.slot.round.run, self._verdicts[release.slot]): release
            for release in reversed(self._releases)
        }
        for (run, verdict), release in chosen.items():
            yield f"{run}-{verdict}.json", self._release(release)

    def _add(self, entry: Entry) -> None:
        match entry:
            case DatasetEntry():
                self._enrol(entry)
            case PlanEntry():
                self._plans[entry.plan.body.run] = entry.plan.body
            case CommitEntry():
                self._commits[entry.commit.body.slot] = entry.commit
            case BeaconEntry():
                self._beacons[entry.round] = bytes.fromhex(entry.beacon)
            case ReleaseEntry():
                self._releases.append(entry.release.body)
            case Outcome():
                self._verdicts[entry.slot] = entry.verdict

    def _enrol(self, entry: DatasetEntry) -> None:
        body = entry.dataset.body
        latest = [other.dataset for other in self._datasets if _owner(other) == _owner(entry)]
        before = self._chains[latest[-1].digest()] if latest else None
        points = [self._bundle.blob(page.commitments) for page in body.pages]
        self._chains[entry.dataset.digest()] = extend(before, entry.dataset, points)
        self._datasets.append(entry)

    def _page(self, entry: DatasetEntry) -> bytes:
        """The first page that a document adds."""
        body, dataset = entry.dataset.body, self._chains[entry.dataset.digest()].dataset
        context = DatasetContext.create(body, entry.dataset.key, 0).encode()
        page = dataset.pages[-len(body.pages)]
        return proof_file.encode(
            PageStatement(context, dataset.shape, page), self._bundle.blob(body.pages[0].proof)
        )

    def _release(self, release: Release) -> bytes:
        plan, commit = self._plans[release.slot.round.run], self._commits[release.slot]
        statement = statement_for(
            plan,
            commit,
            self._beacons[release.slot.round],
            update_from_bytes(self._bundle.blob(release.update), plan.dimension),
            parameters_from_bytes(self._bundle.blob(commit.body.parameters), plan.dimension),
            self._chains.get(commit.body.dataset),
        )
        return proof_file.encode(statement, self._bundle.blob(release.proof))


def _owner(entry: DatasetEntry) -> tuple[str, str]:
    return entry.dataset.body.participant, entry.dataset.body.task
