"""Comparing the ledger with the coordinator's log, so that no copy of it can forget what was spent.

The log holds every commit and every release of ours. What it has and the ledger lacks is added, and counts as
spent. Then the ledger is an old copy, or somebody else has our key: either way it cannot know all that was
done with its open slots, so these are given up, and we commit to no round of ours that the log has opened and
the ledger does not know. The log must extend what was compared the last time.

A coordinator that hides releases from its log hides them here too. What keeps it honest are those who watch
the log; a ledger that was never replaced by a copy of itself needs no comparison.
"""

import logging
from collections.abc import Iterator
from dataclasses import dataclass, field

from sqlalchemy import select
from sqlalchemy.orm import Session

from intertwine.client.control import pinned
from intertwine.client.home import Home
from intertwine.client.identity import Identity
from intertwine.client.ledger import DatasetRow, Ledger, LogRow, Origin, SlotRow, give_up_open_slots
from intertwine.protocols.checkpoint import Checkpoint, verified_checkpoint
from intertwine.protocols.cosignature import MAX_COSIGNED_BYTES
from intertwine.protocols.entries import (
    CommitEntry,
    DatasetEntry,
    Entry,
    PlanEntry,
    ReleaseEntry,
    RoundOpened,
    decode_entry,
)
from intertwine.protocols.errors import FederationError, VerificationError
from intertwine.protocols.merkle import Frontier, leaf_hash
from intertwine.protocols.note import CHECKPOINT_KEY, SignedNote, VerifierKey
from intertwine.protocols.round import Slot
from intertwine.zk.audit.http_client import HttpClient, Patience
from intertwine.zk.audit.log_client import LogClient

_PATIENCE = Patience(answer_s=60.0, pauses_s=(0.5, 2.0))
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Comparison:
    """What a comparison has changed. size: entries of the log.

    commits, releases: slots that the ledger learned of, or whose release it learned of. given_up: own slots
    whose secrets were wiped. closed: open rounds that are left alone. datasets: documents that are lost.
    """

    size: int
    commits: int = 0
    releases: int = 0
    given_up: int = 0
    closed: int = 0
    datasets: int = 0

    @property
    def lines(self) -> list[str]:
        """What people should know, a sentence each; nothing if the ledger knew everything."""
        said = {
            "Commits of ours in the log that the ledger lacked, and that count as spent now": self.commits,
            "Releases of ours in the log that the ledger lacked, and that are spent": self.releases,
            "Slots without a release that are given up, and that count as spent": self.given_up,
            "Rounds that had begun before, and that are left alone": self.closed,
            "Enrolled datasets whose secrets are lost; enrol again under another name": self.datasets,
        }
        return [f"{words}: {count}." for words, count in said.items() if count]


class LogComparison:
    """Compares the ledger with the log once in a process; until then nothing may be committed or released."""

    def __init__(self, ledger: Ledger, identity: Identity, client: LogClient) -> None:
        self._ledger = ledger
        self._identity = identity
        self._client = client
        self._done = False

    def ensure(self) -> None:
        """Compare, unless that is done. Errors as of `compare`: then nothing has changed."""
        if self._done:
            return
        found = compare(self._ledger, self._identity, self._client)
        context = {"participant": self._identity.participant}
        _log.info("the ledger was compared with %d entries of the log", found.size, extra=context)
        for line in found.lines:
            _log.warning("the ledger is an old copy, or another agent has our key: %s", line, extra=context)
        self._done = True


def log_client(home: Home) -> LogClient:
    """The coordinator's log over the control plane."""
    return LogClient(HttpClient(home.settings.control_url, pinned(home.authority), _PATIENCE))


def compare(ledger: Ledger, identity: Identity, client: LogClient) -> Comparison:
    """Read what is new in the log, check it against its checkpoint, and add what the ledger lacks.

    VerificationError `checkpoint_signature` or `log_consistency` if it is not the log that we know;
    FederationError if it cannot be read. Nothing has changed then.
    """
    before = ledger.compared()
    checkpoint = _checkpoint(client, identity)
    if checkpoint.size < before.size:
        raise _inconsistent(checkpoint, before)
    frontier, found = Frontier(before.size, before.roots), _Found(identity.participant)
    for line in _lines(client, before.size, checkpoint.size):
        frontier.append(leaf_hash(line))
        found.read(line)
    if frontier.root() != checkpoint.root:
        raise _inconsistent(checkpoint, before)
    for run in found.runs() - set(found.plans):
        found.plans[run] = ledger.first_plan(run) or _plan(client, before.size, run)
    with ledger.transaction() as session:
        row = session.get_one(LogRow, 1)
        changes = found.add_to(session)
        if any(changes.values()) or row.restored:
            changes |= {"given_up": give_up_open_slots(session), "closed": found.close_rounds(session)}
        row.size, row.roots, row.restored = frontier.size, frontier.roots, False
    return Comparison(frontier.size, **changes)


@dataclass
class _Found:
    """What the log says of one participant; slots by their identifiers, plans by run."""

    participant: str
    plans: dict[str, bytes] = field(default_factory=dict)
    opened: dict[str, Slot] = field(default_factory=dict)
    commits: dict[str, CommitEntry] = field(default_factory=dict)
    releases: dict[str, ReleaseEntry] = field(default_factory=dict)
    datasets: set[str] = field(default_factory=set)

    def read(self, line: bytes) -> None:
        """Take one entry in. Only those that hold our name are decoded: the log is long."""
        if f'"{self.participant}"'.encode() in line:
            self._take(decode_entry(line))

    def _take(self, entry: Entry) -> None:
        name = self.participant
        match entry:
            case PlanEntry():
                self.plans[entry.plan.body.run] = entry.plan.body.encode()
            case RoundOpened() if name in entry.participants:
                slot = Slot(round=entry.round, participant=name)
                self.opened[slot.identifier().hex()] = slot
            case CommitEntry() if entry.commit.body.slot.participant == name:
                self.commits[entry.commit.body.slot.identifier().hex()] = entry
            case ReleaseEntry() if entry.release.body.slot.participant == name:
                self.releases[entry.release.body.slot.identifier().hex()] = entry
            case DatasetEntry() if entry.dataset.body.participant == name:
                self.datasets.add(entry.dataset.digest())

    def runs(self) -> set[str]:
        """The runs that a slot may have to be added of."""
        slots = [entry.commit.body.slot for entry in self.commits.values()]
        slots += [entry.release.body.slot for entry in self.releases.values()]
        return {slot.round.run for slot in slots}

    def add_to(self, session: Session) -> dict[str, int]:
        """Add the slots and releases that the ledger lacks; how many there were of each kind, by field."""
        commits = releases = 0
        for identifier in self.commits | self.releases:
            row = session.get(SlotRow, identifier)
            if row is None:
                commits += 1
                session.add(row := self._row(identifier, "log"))
            elif row.commit != self._commit(identifier, row.commit):
                commits += 1  # somebody else has committed to our slot
            if identifier in self.releases and not row.release:
                releases += 1
                body = self.releases[identifier].release
                row.origin, row.beacon, row.release = "log", body.body.beacon, body.encode()
                row.seed = row.gradient = row.values = b""
        documents = set(session.scalars(select(DatasetRow.digest)))
        return {"commits": commits, "releases": releases, "datasets": len(self.datasets - documents)}

    def close_rounds(self, session: Session) -> int:
        """Commit to none of the rounds in the log that the ledger does not know; how many there are."""
        unknown = [slot for slot in self.opened if session.get(SlotRow, slot) is None]
        session.add_all(self._row(slot, "closed") for slot in unknown)
        return len(unknown)

    def _commit(self, identifier: str, otherwise: bytes = b"") -> bytes:
        entry = self.commits.get(identifier)
        return otherwise if entry is None else entry.commit.encode()

    def _row(self, identifier: str, origin: Origin) -> SlotRow:
        slot = self.opened.get(identifier) or self._slot(identifier)
        return SlotRow(
            slot=identifier,
            run=slot.round.run,
            task=slot.round.task,
            number=slot.round.number,
            plan=b"" if origin == "closed" else self.plans[slot.round.run],
            nonce_digest="",
            parameters="",
            values=b"",
            seed=b"",
            gradient=b"",
            commit=self._commit(identifier),
            origin=origin,
        )

    def _slot(self, identifier: str) -> Slot:
        if identifier in self.commits:
            return self.commits[identifier].commit.body.slot
        return self.releases[identifier].release.body.slot


def _checkpoint(client: LogClient, identity: Identity) -> Checkpoint:
    note = client.checkpoint()
    if note is None:
        raise FederationError(
            "The coordinator shows no checkpoint of its log yet.", "Wait until its witnesses have co-signed."
        )
    signed = SignedNote.parse(note, MAX_COSIGNED_BYTES)
    return verified_checkpoint(signed, VerifierKey(identity.log_origin, CHECKPOINT_KEY, identity.deployment))


def _lines(client: LogClient, start: int, end: int) -> Iterator[bytes]:
    for batch in client.entries(start, end):
        yield from batch


def _plan(client: LogClient, end: int, run: str) -> bytes:
    """The plan of a run that began before what is compared now."""
    for line in _lines(client, 0, end):
        if b'"type":"plan"' in line:
            entry = decode_entry(line)
            if isinstance(entry, PlanEntry) and entry.plan.body.run == run:
                return entry.plan.body.encode()
    raise FederationError(f"The coordinator's log has no plan of run {run!r}.", "Ask the coordinator.")


def _inconsistent(checkpoint: Checkpoint, before: LogRow) -> VerificationError:
    return VerificationError(
        "log_consistency",
        f"the log of size {checkpoint.size} does not extend that of {before.size} which is known here.",
        "Ask the coordinator whether its log was restored from an old backup.",
    )
