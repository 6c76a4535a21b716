"""A log judged as it grows: its rules, its proofs and its privacy figures, entry by entry.

The same code as in the audit of a bundle judges entries and proofs; what is not done here is to recompute
aggregates, models and model files, for which the log must be exported.
"""

import math
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from importlib.metadata import version

from intertwine.protocols.bundle import MAX_BLOB_BYTES
from intertwine.protocols.dataset import MAX_COMMITMENTS_BYTES, MAX_PAGE_PROOF_BYTES
from intertwine.protocols.encoding import tagged_digest
from intertwine.protocols.entries import (
    BeaconEntry,
    DatasetEntry,
    Entry,
    Outcome,
    ReleaseEntry,
    RoundOpened,
    decode_entry,
)
from intertwine.protocols.errors import InputError, VerificationError
from intertwine.protocols.merkle import Tree, leaf_hash
from intertwine.protocols.policy import Policy
from intertwine.protocols.round import RoundId, Slot
from intertwine.zk.audit.alert import Alert, AlertKind, Fault
from intertwine.zk.audit.digest_file import DigestFile
from intertwine.zk.audit.history import DatasetRecord, History, ReleaseRecord, RoundHistory
from intertwine.zk.audit.log_client import LogClient
from intertwine.zk.dataset_proof import verify_pages
from intertwine.zk.instance import VERSION
from intertwine.zk.privacy import ALL_TASKS, PrivacyRow, Tally
from intertwine.zk.round_proof import Answer, verify_releases

BATCH = 16
"""Releases that are verified together."""
GRACE_S = 60
"""Seconds by the log's own times after a round's deadline, for the coordinator to verify and to log."""
_MAX_PROOF_BYTES = 1 << 20
_BUDGET_REMEDY = "Tell the participant, and do not plan further runs with it."


@dataclass(frozen=True)
class _EndedSlot:
    """A slot whose release, or abort, is to be accounted for; record: what there is to verify."""

    index: int
    slot: Slot
    released: bool
    record: ReleaseRecord | None = None


class LiveAudit:
    """Judges the entries of one log in their order.

    tree: the log's, at least as large as what is judged. known: proofs that were found valid before.
    """

    def __init__(
        self,
        policy: Policy,
        client: LogClient,
        tree: Callable[[], Tree],
        known: DigestFile,
        max_epsilon: float = math.inf,
    ) -> None:
        self._client, self._tree, self._known, self._max_epsilon = client, tree, known, max_epsilon
        self._version = version("intertwine").encode()
        self._history = History(policy.origin, policy.log_key, lambda size: tree().root(size), self._held)
        self._commitments: dict[str, bytes] = {}  # of the dataset that is being judged
        self._parameters = ("", b"")  # the last that were fetched: a round's releases share them
        self._leaves: set[bytes] = set()
        self._time = 0  # of the latest entry
        self._open: dict[RoundId, int | None] = {}  # rounds that have not ended, with their beacons' times
        self._datasets: list[DatasetRecord] = []  # whose pages are to be verified
        self._ended: list[_EndedSlot] = []
        self._tallies: dict[tuple[str, str], Tally] = {}
        self.proofs = 0

    @property
    def rounds(self) -> int:
        """How many rounds were opened."""
        return len(self._history.rounds)

    def add(self, index: int, data: bytes) -> list[Alert]:
        """Judge the entry at `index`; proofs are left to `settle`.

        UnreachableError if what the entry needs cannot be fetched; it can then be added again.
        """
        try:
            entry = decode_entry(data)
        except InputError as error:
            return [Alert.of_rule(index, VerificationError("entry_encoding", error.problem))]
        leaf = leaf_hash(data)
        if leaf in self._leaves:
            twice = VerificationError("entry_encoding", "the entry occurs for the second time.")
            return [Alert.of_rule(index, twice)]
        self._fetch_commitments(entry)
        self._leaves.add(leaf)
        self._time = max(self._time, entry.time)
        self._history.add(index, entry)
        findings, self._history.findings = self._history.findings, {}
        self._follow(index, entry, sound=not findings)
        return [
            *(
                Alert.of_rule(found.index, VerificationError(check, found.problem))
                for check, found in findings.items()
            ),
            *(alert for current in self._closed() for alert in self._unanswered(current)),
            *_aborted(index, entry),
        ]

    def settle(self) -> Iterator[Alert]:
        """Verify the proofs that have come, account for them, and look for answers that are overdue.

        UnreachableError if files cannot be fetched; what was not verified stays to be.
        """
        while self._datasets:
            alert = self._verify_dataset(self._datasets[0])
            del self._datasets[0]
            if alert is not None:
                yield alert
        while self._ended:
            some = self._ended[:BATCH]
            verdicts = self._verify(some)
            del self._ended[:BATCH]
            for ended, verdict in zip(some, verdicts, strict=True):
                yield from self._conclude(ended, verdict)
        for identity, beacon_time in self._open.items():
            current = self._history.rounds[identity]
            if beacon_time is not None and self._time > beacon_time + current.plan.deadline_s + GRACE_S:
                yield from self._unanswered(current)

    # The log's rules

    def _fetch_commitments(self, entry: Entry) -> None:
        self._commitments = {}
        if isinstance(entry, DatasetEntry):
            for page in entry.dataset.body.pages:
                with suppress(VerificationError):  # `_held` says that it is missing
                    blob = self._client.blob(page.commitments, MAX_COMMITMENTS_BYTES)
                    self._commitments[page.commitments] = blob

    def _held(self, digest: str) -> bytes:
        if digest not in self._commitments:
            raise VerificationError("blob_digest", f"the log's server does not have blob {digest}.")
        return self._commitments[digest]

    def _follow(self, index: int, entry: Entry, sound: bool) -> None:
        """Note what is to be looked at later. sound: the entry breaks no rule."""
        match entry:
            case RoundOpened() if sound:
                self._open[entry.round] = None
            case BeaconEntry() if sound:
                self._open[entry.round] = entry.time
            case DatasetEntry() if sound:
                self._datasets.append(self._history.datasets[-1])
            case ReleaseEntry() if not sound:
                self._ended.append(_EndedSlot(index, entry.release.body.slot, released=True))
            case Outcome() if sound:
                record = self._history.release_of(entry.slot)
                position = index if record is None else record.index
                self._ended.append(_EndedSlot(position, entry.slot, record is not None, record))
            case _:
                pass

    def _closed(self) -> list[RoundHistory]:
        """Rounds that have ended since this was last asked."""
        ended = [identity for identity in self._open if self._history.rounds[identity].closed]
        for identity in ended:
            del self._open[identity]
        return [self._history.rounds[identity] for identity in ended]

    def _unanswered(self, current: RoundHistory) -> Iterator[Alert]:
        """Slots of a round that should have ended, and have not."""
        for slot in current.unanswered():
            if slot.release is not None:
                missing = VerificationError("outcome", "the release has no outcome.")
                yield Alert.of_rule(slot.release_index, missing)
                if current.closed:
                    body = slot.release.body
                    self._ended.append(_EndedSlot(slot.release_index, body.slot, released=True))
            elif slot.commit is not None:
                committed = slot.commit.body.slot
                yield Alert(
                    AlertKind.MISSING_RELEASE,
                    slot.commit_index,
                    f"participant {committed.participant!r} committed to {_place(committed)} and the beacon "
                    "is known, but the log has neither its release nor an outcome.",
                    "Ask the participant whether it released; the log may hide it.",
                )

    # Proofs

    def _verify_dataset(self, record: DatasetRecord) -> Alert | None:
        key = self._key(record.index)
        try:
            if key not in self._known:
                pages = record.signed.body.pages
                proofs = [self._client.blob(page.proof, MAX_PAGE_PROOF_BYTES) for page in pages]
                verify_pages(record.signed, record.chain, proofs)
                self._known.add(key)
        except VerificationError as error:
            if error.check == "blob_digest":
                return Alert.of_rule(record.index, error)
            return Alert(
                AlertKind.REJECTED_PROOF,
                record.index,
                f"records of participant {record.signed.body.participant!r} were enrolled, but the proof of "
                f"their form fails check {error.check}.",
                "Do not rely on runs that use these records.",
                Fault.COORDINATOR,
                error.check,
            )
        self.proofs += len(record.signed.body.pages)
        return None

    def _verify(self, some: list[_EndedSlot]) -> list[VerificationError | None]:
        """What is wrong with each slot's release, if anything; nothing is, if there is none to verify."""
        verdicts: list[VerificationError | None] = [None] * len(some)
        answers: dict[int, Answer] = {}
        for number, ended in enumerate(some):
            if ended.record is None or self._key(ended.index) in self._known:
                continue
            try:
                answers[number] = self._answer(ended.record)
            except VerificationError as error:
                verdicts[number] = error
        for number, verdict in zip(answers, verify_releases(list(answers.values())), strict=True):
            verdicts[number] = verdict
            if verdict is None:
                self._known.add(self._key(some[number].index))
        return verdicts

    def _answer(self, record: ReleaseRecord) -> Answer:
        body, commit = record.release.body, record.commit.body
        size = 8 * record.plan.dimension
        if self._parameters[0] != commit.parameters:
            self._parameters = commit.parameters, self._client.blob(commit.parameters, size)
        return Answer(
            record.plan,
            record.commit,
            record.beacon,
            record.release,
            self._client.blob(body.update, MAX_BLOB_BYTES),
            self._client.blob(body.proof, _MAX_PROOF_BYTES),
            self._parameters[1],
            record.chain,
        )

    def _key(self, index: int) -> str:
        """Names the entry at `index` and all before it, on which its verdict depends, and the verifier."""
        root = self._tree().root(index + 1)
        return tagged_digest("intertwine/watched-proof/v1", VERSION, self._version, root).hex()

    def _conclude(self, ended: _EndedSlot, verdict: VerificationError | None) -> Iterator[Alert]:
        """Compare a release's verdict with its outcome, and count it."""
        record, failed = ended.record, "" if verdict is None else verdict.check
        if record is not None:
            self.proofs += not failed
            if verdict is not None and failed == "blob_digest":
                yield Alert.of_rule(ended.index, verdict)
            elif failed or record.rejected_as:
                yield _rejection(record, failed)
        yield from self._count(ended, valid=record is not None and not failed)

    # Privacy

    def _count(self, ended: _EndedSlot, valid: bool) -> Iterator[Alert]:
        """Add a slot to its participant's account; alerts for figures that it takes beyond the limit."""
        run = self._history.runs.get(ended.slot.round.run)
        if run is None:
            return
        name, task = ended.slot.participant, run.plan.task
        for key in ((name, task), (name, ALL_TASKS)):
            tally = self._tallies.setdefault(key, Tally(run.plan.adjacency))
            before = {row.assurance for row in self._beyond(key)}
            if ended.released:
                tally.release(run.plan, valid, verified=valid)
            else:
                tally.abort(run.plan)
            for row in self._beyond(key):
                if row.assurance not in before:
                    yield self._overspent(ended.index, row)

    def _beyond(self, key: tuple[str, str]) -> list[PrivacyRow]:
        if math.isinf(self._max_epsilon):
            return []
        rows = (self._tallies[key].row(*key, assurance) for assurance in self._tallies[key].losses)
        return [row for row in rows if row.guarantee.epsilon > self._max_epsilon]

    def _overspent(self, index: int, row: PrivacyRow) -> Alert:
        tasks = "over all tasks" if row.task == ALL_TASKS else f"for task {row.task!r}"
        spent = "infinite" if math.isinf(row.guarantee.epsilon) else f"{row.guarantee.epsilon:.4g}"
        return Alert(
            AlertKind.BUDGET,
            index,
            f"the epsilon of participant {row.participant!r} ({row.assurance}) {tasks} is {spent} with this "
            f"release, above the limit of {self._max_epsilon:g}.",
            _BUDGET_REMEDY,
        )


def _aborted(index: int, entry: Entry) -> Iterator[Alert]:
    if isinstance(entry, Outcome) and entry.verdict == "aborted":
        yield Alert(
            AlertKind.MISSING_RELEASE,
            index,
            f"participant {entry.slot.participant!r} committed to {_place(entry.slot)} and never released, "
            "if the log is right.",
            "Ask the participant; one abort may tell one chosen bit, and a log that hides releases looks the "
            "same.",
        )


def _rejection(record: ReleaseRecord, failed: str) -> Alert:
    """A release that fails check `failed` (empty: none), or was rejected, or both."""
    slot = record.release.body.slot
    release = f"the release of participant {slot.participant!r} in {_place(slot)}"
    if failed == record.rejected_as:
        problem = f"{release} fails check {failed}, and was rejected for that."
        remedy, fault = "Ask the participant; its figures count as infinite.", Fault.PARTICIPANT
    else:
        said = f"was rejected by check {record.rejected_as}" if record.rejected_as else "was accepted"
        problem = f"{release} {said}, but " + (f"fails check {failed}." if failed else "is valid.")
        remedy, fault = "Do not rely on this log: its coordinator judged wrongly.", Fault.COORDINATOR
    return Alert(AlertKind.REJECTED_PROOF, record.index, problem, remedy, fault, failed)


def _place(slot: Slot) -> str:
    return f"round {slot.round.number} of run {slot.round.run!r}"
