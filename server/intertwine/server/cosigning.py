"""Witnesses of the coordinator's log: asking for their co-signatures, and what is shown of them.

Which witnesses there are, and how many must co-sign, is in the home's `witnesses.policy`, if there is one.
"""

import logging
import re
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import httpx

from intertwine.protocols.checkpoint import log_verifier
from intertwine.protocols.cosignature import MAX_COSIGNED_BYTES, read_cosigned
from intertwine.protocols.errors import FederationError, InputError, IntertwineError, VerificationError
from intertwine.protocols.note import SignedNote
from intertwine.protocols.policy import Policy, Witness
from intertwine.protocols.witnessing import AddCheckpoint
from intertwine.server.home import Home
from intertwine.server.store import LogView, Store

TIMEOUT_S = 5.0
PERIOD_S = 3.0
"""How often the log is looked at for new entries."""
PATIENCE_S = 60.0
"""How long until witnesses that failed are asked again although the log has not grown."""
_AT_ONCE = 8
_MAX_ANSWER_BYTES = 4096
_log = logging.getLogger(__name__)


def coordinator_policy(home: Home) -> Policy | None:
    """The home's policy, None if there is none; InputError if it is another log's or cannot be read."""
    if not home.policy_file.exists():
        return None
    try:
        policy = Policy.read(home.policy_file)
    except InputError as error:
        raise InputError(f"{home.policy_file}: {error.problem}", error.remedy) from error
    own = log_verifier(home.signing_key.public)
    if policy.log != own:
        raise InputError(f"{home.policy_file}: its log is another one's.", f"Write: log {own}")
    return policy


def gather(store: Store, policy: Policy) -> LogView:
    """The log as it is now, under a checkpoint with every co-signature that can be had.

    Witnesses with a URL are asked, unless they have signed this size already; one that fails is left out. A
    note that satisfies the policy is kept in the database.
    """
    view = store.view()
    kept_size, kept = next(iter(store.cosigned(1)), (0, ""))
    lines = _own_lines(policy, kept) if kept and kept_size == view.size else {}
    missing = [witness for witness in policy.witnesses if witness.url and witness.nickname not in lines]
    if missing:
        with ThreadPoolExecutor(_AT_ONCE) as pool:
            answers = pool.map(lambda one: _cosignature(store, policy, one, view, kept_size), missing)
            lines |= {witness.nickname: line for witness, line in zip(missing, answers, strict=True) if line}
    ordered = [lines[witness.nickname] for witness in policy.witnesses if witness.nickname in lines]
    note = view.checkpoint + "".join(ordered)
    if policy.satisfied(lines):
        store.keep_cosigned(view.size, note)
    return LogView(note, view.size, view.tree)


def quorum_reached(note: str, policy: Policy) -> bool:
    """Whether enough witnesses have co-signed this note of the coordinator's own log."""
    return policy.satisfied(read_cosigned(note, policy).nicknames)


def shown_checkpoint(store: Store, policy: Policy | None) -> str | None:
    """The newest checkpoint that is fit to be shown; None while the policy's quorum was never reached.

    With a quorum that is the newest one co-signed; without, a fresh one if nobody has co-signed it yet.
    """
    size, newest = next(iter(store.cosigned(1)), (0, None)) if policy else (0, None)
    if policy and (policy.quorum is not None or (newest and size == store.size())):
        return newest
    return store.view().checkpoint


class Cosigning:
    """A thread that asks the witnesses whenever the log has grown."""

    def __init__(self, store: Store, policy: Policy) -> None:
        self._store, self._policy = store, policy
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self._run, name="cosigning", daemon=True)

    def __enter__(self) -> "Cosigning":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ending.set()
        self._thread.join(2 * TIMEOUT_S)

    def _run(self) -> None:
        size, asked = -1, 0.0
        while not self._ending.wait(PERIOD_S if size >= 0 else 0):
            try:
                if self._store.size() != size or time.monotonic() > asked + PATIENCE_S:
                    size, asked = gather(self._store, self._policy).size, time.monotonic()
            except Exception:
                _log.exception("co-signatures cannot be gathered; they are tried again")
                size, asked = max(size, 0), time.monotonic()


def _own_lines(policy: Policy, note: str) -> dict[str, str]:
    """The lines of the policy's witnesses in a note that was kept, by nickname."""
    try:
        known = read_cosigned(note, policy).nicknames
    except VerificationError:
        return {}
    signed = SignedNote.parse(note, MAX_COSIGNED_BYTES)
    return {
        witness.nickname: line.line()
        for witness in policy.witnesses
        for line in signed.signatures
        if witness.nickname in known and line.is_by(witness.verifier)
    }


def _cosignature(store: Store, policy: Policy, witness: Witness, view: LogView, old: int) -> str:
    """The witness's line on the view's checkpoint; empty if it gives none, which is logged."""
    try:
        answer = _ask(store, witness, view, old)
        if not answer:
            return ""
        note = SignedNote.parse(view.checkpoint + answer, MAX_COSIGNED_BYTES)
        own = "".join(line.line() for line in note.signatures if line.is_by(witness.verifier))
        if witness.nickname not in read_cosigned(view.checkpoint + own, policy).nicknames:
            raise FederationError("its answer has no line by the key that the policy gives for it.")
    except (IntertwineError, httpx.HTTPError, httpx.InvalidURL) as error:
        _log.warning("witness %s has not co-signed size %d: %s", witness.nickname, view.size, error)
        return ""
    return own


def _ask(store: Store, witness: Witness, view: LogView, old: int) -> str:
    """The answer to a request that begins at size `old`, or at the size that the witness says it is at.

    Empty if another of the coordinator's processes has had a larger size co-signed meanwhile.
    """
    with httpx.Client(timeout=TIMEOUT_S, trust_env=False) as client:
        status, answer = _post(client, witness, view, old)
        if status == httpx.codes.CONFLICT and re.fullmatch("[0-9]{1,19}\n", answer):
            reported = int(answer)
            if view.size < reported <= store.size():
                return ""
            if reported > view.size:
                raise FederationError(
                    f"it has seen {reported} entries, here are {view.size}: was an old database restored?"
                )
            status, answer = _post(client, witness, view, reported)
    if status == httpx.codes.CONFLICT:
        raise FederationError("it has co-signed another history: was an old database restored?")
    if status != httpx.codes.OK:
        raise FederationError(f"it answers with status {status}: {answer[:200]!r}.")
    return answer


def _post(client: httpx.Client, witness: Witness, view: LogView, old: int) -> tuple[int, str]:
    body = AddCheckpoint(old, tuple(view.tree.consistency(old, view.size)), view.checkpoint).encode()
    deadline = time.monotonic() + 2 * TIMEOUT_S
    answer = bytearray()
    with client.stream("POST", f"{witness.url.rstrip('/')}/add-checkpoint", content=body) as response:
        for part in response.iter_raw():
            answer += part
            if len(answer) > _MAX_ANSWER_BYTES or time.monotonic() > deadline:
                raise FederationError("its answer is too long, or takes too long.")
        return response.status_code, answer.decode(errors="replace")
