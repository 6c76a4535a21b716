"""Following a live log: that it only grows, that witnesses see the same one, and that what it says is true.

A step fetches the newest checkpoint, opens it under the policy, and fetches the entries that are new. They
must hash to the checkpoint's root together with those that were there before; so every checkpoint ever seen
is one of the same history. Only then are the new entries judged (`intertwine.zk.audit.live`).
"""

import time
from collections.abc import Callable, Generator, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

from intertwine.protocols.checkpoint import Checkpoint
from intertwine.protocols.cosignature import find_fork, open_cosigned, read_cosigned
from intertwine.protocols.errors import VerificationError
from intertwine.protocols.merkle import Tree, leaf_hash
from intertwine.protocols.policy import Policy
from intertwine.zk.audit.alert import Alert, AlertKind, Fault
from intertwine.zk.audit.http_client import HttpClient, UnreachableError
from intertwine.zk.audit.live import LiveAudit
from intertwine.zk.audit.log_client import LogClient, last_cosigned
from intertwine.zk.audit.watch_state import WatchState

GRACE_S = 300
"""Seconds for which a quorum may be missing, a witness silent, or the log behind one, before an alert."""
_SETTLE_EVERY = 256
_LOG = ""
"""The log's name among those who answer; no witness has it."""
_KEEP = (
    "Keep this alert's evidence and the --state folder, tell the participants, and stop relying on the log."
)


@dataclass(frozen=True)
class Progress:
    """How far a watch has come. size: entries under the last checkpoint; judged: of them."""

    size: int
    judged: int
    rounds: int
    proofs: int


class Watcher:
    """Follows one log. `step` looks at it once; each alert is given once in the watcher's life.

    witnesses: where those of the policy answer, by nickname. grace_s: see GRACE_S. clock: seconds since 1970.
    on_progress: called while many entries are judged, and at the end of a step.
    """

    def __init__(
        self,
        policy: Policy,
        client: LogClient,
        state: WatchState,
        live: LiveAudit,
        *,
        witnesses: Mapping[str, HttpClient],
        grace_s: float = GRACE_S,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._policy, self._client, self._state, self._live = policy, client, state, live
        self._witnesses, self._grace_s, self._clock = witnesses, grace_s, clock
        self.on_progress: Callable[[Progress], None] = lambda _: None
        self._judged = 0
        self._given: set[str] = set()
        self._ahead: dict[str, int] = {}  # since when witnesses have been further than the log
        self._refused: tuple[bytes, Alert] | None = None  # the last root that was no continuation, and why

    def step(self) -> Iterator[Alert]:
        """Look at the log as it is now."""
        for alert in self._look():
            if alert.identity(self._policy.origin) not in self._given:
                self._given.add(alert.identity(self._policy.origin))
                yield alert

    @property
    def progress(self) -> Progress:
        """How far it has come."""
        return Progress(self._state.memory.size, self._judged, self._live.rounds, self._live.proofs)

    def _look(self) -> Iterator[Alert]:
        notes: dict[str, str] = {}
        for name in self._witnesses:  # before the log, which should then be at least as far
            yield from self._ask_witness(name, notes)
        since = self._since(_LOG)
        try:
            note = self._client.checkpoint()
            accepted = False
            if note is not None:
                accepted = yield from self._take(note, notes, since)
            elif self._clock() - since >= self._grace_s:
                yield _silent("the log", since, UnreachableError("It has no checkpoint to show."))
            yield from self._judge()
        except UnreachableError as error:
            yield _silent("the log", since, error)
            return
        yield from self._compare(notes, accepted)

    def _since(self, name: str) -> int:
        """When a server last answered as it should, or was first asked."""
        if name not in self._state.memory.answered:
            self._heard(name)
        return self._state.memory.answered[name]

    def _heard(self, name: str) -> None:
        self._state.answered(name, int(self._clock()))

    # The log's checkpoint

    def _take(self, note: str, notes: Mapping[str, str], since: int) -> Generator[Alert, None, bool]:
        """Accept a checkpoint that continues the last one, with the entries under it; whether it does."""
        last = self._state.memory
        try:
            known = [last.note] if last.size else []
            if fork := find_fork([*known, *notes.values(), note], self._policy):
                yield _forked(fork.size, None, (fork.first, fork.second))
                return False
            found = open_cosigned(note, self._policy)
        except VerificationError as error:
            if error.check != "cosignature_quorum" or self._clock() - since >= self._grace_s:
                yield _refused(error, since)
            return False
        alert = self._extend(found.checkpoint, note)
        if alert is None:
            self._heard(_LOG)
        else:
            yield alert
        return alert is None

    def _extend(self, checkpoint: Checkpoint, note: str) -> Alert | None:
        last, state = self._state.memory, self._state
        if checkpoint.size < last.size:
            return Alert(
                AlertKind.ROLLBACK,
                None,
                f"the log shows fewer than the {last.size} entries of the last checkpoint that it signed.",
                _KEEP,
                Fault.COORDINATOR,
                evidence=(last.note, note),
            )
        if self._refused is not None and self._refused[0] == checkpoint.root:
            return self._refused[1]
        try:
            for batch in self._client.entries(len(state.tree), checkpoint.size):
                state.append(batch)
        except UnreachableError:
            state.discard()
            raise
        old, new = state.tree.root(last.size), state.tree.root(checkpoint.size)
        if (old.hex(), new) == (last.root, checkpoint.root):
            if note != last.note:
                state.confirm(checkpoint, note)
            return None
        state.discard()
        alert = self._explain(checkpoint, note)
        self._refused = checkpoint.root, alert
        return alert

    def _explain(self, checkpoint: Checkpoint, note: str) -> Alert:
        """Why a checkpoint is no continuation: another history, or entries that are not under it."""
        last, state = self._state.memory, self._state
        tree, differs = Tree(), None
        for batch in self._client.entries(0, checkpoint.size):
            for entry in batch:
                index = len(tree)
                tree.append(leaf_hash(entry))
                if differs is None and index < len(state.tree) and tree.leaf(index) != state.tree.leaf(index):
                    differs = index
        if tree.root(checkpoint.size) != checkpoint.root or tree.root(last.size).hex() == last.root:
            problem = "the entries that are served are not those that the checkpoint was signed over."
            return Alert.of_rule(None, VerificationError("log_root", problem))
        return _forked(last.size, differs, (last.note, note))

    # Entries and proofs

    def _judge(self) -> Iterator[Alert]:
        """Judge the entries under the last checkpoint that were not judged yet, and their proofs."""
        while self._judged < len(self._state.tree):
            yield from self._live.add(self._judged, self._state.entry(self._judged))
            self._judged += 1
            if self._judged % _SETTLE_EVERY == 0:
                yield from self._live.settle()
                self.on_progress(self.progress)
        yield from self._live.settle()
        self.on_progress(self.progress)

    # Witnesses

    def _ask_witness(self, name: str, notes: dict[str, str]) -> Iterator[Alert]:
        """Fetch what a witness co-signed last, if that is a note of this log with its co-signature."""
        since = self._since(name)
        try:
            note = last_cosigned(self._witnesses[name], self._policy.origin)
            if note is not None and name not in read_cosigned(note, self._policy).nicknames:
                raise VerificationError("cosignature", f"witness {name!r} has not signed what it shows.")
        except UnreachableError as error:
            if self._clock() - since >= self._grace_s:
                yield _silent(f"witness {name!r}", since, error)
            return
        except VerificationError as error:
            yield Alert(AlertKind.COSIGNATURE, None, error.problem, "Ask the witness.", check=error.check)
            return
        self._heard(name)
        if note is not None:
            notes[name] = note

    def _compare(self, notes: Mapping[str, str], accepted: bool) -> Iterator[Alert]:
        """Whether what witnesses co-signed is a part of the history that is shown here.

        accepted: the log's newest checkpoint is; otherwise nobody can say that it is behind.
        """
        tree, now = self._state.tree, int(self._clock())
        for name, note in notes.items():
            seen = read_cosigned(note, self._policy).checkpoint
            if seen.size <= len(tree):
                self._ahead.pop(name, None)
                if tree.root(seen.size) != seen.root:
                    yield _forked(seen.size, None, (note, self._state.memory.note))
            elif accepted and 0 < self._grace_s <= now - self._ahead.setdefault(name, now):
                yield Alert(
                    AlertKind.ROLLBACK,
                    None,
                    f"witness {name!r} has co-signed entries that the log has not shown since "
                    f"{_clock_time(self._ahead[name])}.",
                    _KEEP,
                    Fault.COORDINATOR,
                    evidence=(note, self._state.memory.note),
                )


def _forked(size: int, entry: int | None, evidence: tuple[str, str]) -> Alert:
    where = "" if entry is None else f"; entry {entry} is the first that differs"
    return Alert(
        AlertKind.FORK,
        entry,
        f"the log has two histories: its signed checkpoints contradict each other about the first {size} "
        f"entries{where}.",
        _KEEP,
        Fault.COORDINATOR,
        evidence=evidence,
    )


def _refused(error: VerificationError, since: int) -> Alert:
    """What a checkpoint that cannot be accepted means."""
    if error.check == "cosignature_quorum":
        problem = f"no checkpoint has had the policy's quorum of co-signatures since {_clock_time(since)}."
        return Alert(AlertKind.COSIGNATURE, None, problem, error.problem, check=error.check)
    if error.check == "cosignature":
        return Alert(AlertKind.COSIGNATURE, None, error.problem, "Ask the witness.", check=error.check)
    remedy = "Compare address and key with what the coordinator published; somebody else may answer."
    return Alert(AlertKind.LOG_RULE, None, error.problem, remedy, check=error.check)


def _silent(who: str, since: int, error: UnreachableError) -> Alert:
    problem = f"{who} has not answered as it should since {_clock_time(since)}."
    return Alert(AlertKind.UNREACHABLE, None, problem, str(error))


def _clock_time(seconds: int) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
