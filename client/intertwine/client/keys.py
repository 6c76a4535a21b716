"""Replacing the signing key: the agent never loses the key in force, nor signs with another one.

    signing.key        the key in force
    signing.key.new    the next one, from before the coordinator is asked until it has answered
    signing.key.lock   locked: shared while the key is used, exclusively while it is replaced

The next key is on the disk before the coordinator hears of it, and takes the old one's place in one step once
the coordinator has logged it. Whatever is interrupted in between is finished before the key is used again:
the coordinator says which of the two is in force. The old key is gone then, and with it every slot that was
committed with it and not released.
"""

import fcntl
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from intertwine.client.control import pinned, request
from intertwine.client.datasets import Datasets
from intertwine.client.home import Home
from intertwine.client.identity import Identity
from intertwine.client.ledger import Ledger, SlotRow
from intertwine.protocols.errors import FederationError, InputError
from intertwine.protocols.files import lock, read_bounded, sync_folder
from intertwine.protocols.keys import KeyStatus, NewKey, sign_new_key
from intertwine.protocols.round import Commit, Signed
from intertwine.protocols.signing import SigningKey

MAX_ANSWER_BYTES = 64 << 10
_WAIT_S = 120.0
_POLL_S = 0.1

# Asks the coordinator for our key in force; a document is handed in first.
Ask = Callable[[Signed[NewKey] | None], KeyStatus]


@contextmanager
def key_in_use(home: Home, ask: Ask) -> Iterator[Identity]:
    """Who we are, under a key that does not change within the block; an interrupted change is finished first.

    FederationError if one was interrupted and the coordinator cannot be reached.
    """
    if home.next_signing_key_file.exists():
        with _locked(home, fcntl.LOCK_EX):
            _finish(home, ask)
    with _locked(home, fcntl.LOCK_SH):
        yield home.identity


def rotate_key(home: Home, ask: Ask, abandon_slots: bool = False) -> SigningKey:
    """Replace the signing key, or finish replacing it; the key that is in force then.

    A slot that waits for its release with the old key is waited for, two minutes at most, unless
    `abandon_slots`. InputError, and nothing changes, if it goes on waiting or if records are half enrolled.
    """
    ledger, deadline = Ledger(home.ledger), time.monotonic() + _WAIT_S
    while True:
        with _locked(home, fcntl.LOCK_EX):
            slot = None if abandon_slots else _open_slot(ledger, home.signing_key.public)
            if slot is None or home.next_signing_key_file.exists():
                _begin(home, ledger)
                _finish(home, ask)
                return home.signing_key
        if time.monotonic() > deadline:
            raise InputError(
                f"Round {slot.number} of run {slot.run!r} waits for a release signed with this key.",
                "Try again after the round; if it is over without a release of ours, add --abandon-slots.",
            )
        time.sleep(_POLL_S)


def ask_coordinator(home: Home) -> Ask:
    """Over the control plane."""
    url, context = f"{home.settings.control_url}/v1/keys", pinned(home.authority)
    token = read_bounded(home.access_token, 64).decode()

    def ask(change: Signed[NewKey] | None) -> KeyStatus:
        method, body = ("GET", None) if change is None else ("POST", change.encode())
        answer = request(method, url, context, body=body, token=token, limit=MAX_ANSWER_BYTES)
        return KeyStatus.decode(answer)

    return ask


def _finish(home: Home, ask: Ask) -> None:
    """Have the next key put in force, unless it is already, and put it in its place."""
    if not home.next_signing_key_file.exists():
        return
    old, new = home.identity, SigningKey.read(home.next_signing_key_file)
    status = ask(None)
    if status.signing_key == old.key.public:
        change = sign_new_key(old.deployment, old.participant, status.changes + 1, old.key, new)
        status = ask(change)
    if (status.participant, status.signing_key) != (old.participant, new.public):
        raise FederationError(
            "The coordinator has a key in force for us that is neither our old nor our new one.",
            "Was this home restored from an old copy? Use the newest one, or have the participant revoked.",
        )
    home.next_signing_key_file.replace(home.signing_key_file)
    sync_folder(home.path)


def _begin(home: Home, ledger: Ledger) -> None:
    """Make the next key, unless it is there; InputError if records are half enrolled with the old one."""
    if home.next_signing_key_file.exists():
        return
    if unfinished := [row.task for row in Datasets(ledger).all() if not row.enrolled]:
        raise InputError(
            f"Records of task {unfinished[0]!r} are half enrolled with this key.",
            f"Finish that first: intertwine agent dataset commit {unfinished[0]}",
        )
    SigningKey.generate().write(home.next_signing_key_file)


def _open_slot(ledger: Ledger, key: str) -> SlotRow | None:
    """A slot that was committed with this key and may still be asked for its release."""
    slots = ledger.unreleased()
    return next((slot for slot in slots if Signed[Commit].decode(slot.commit).key == key), None)


@contextmanager
def _locked(home: Home, operation: int) -> Iterator[None]:
    """Hold the home's key lock; InputError if that takes more than two minutes."""
    deadline = time.monotonic() + _WAIT_S
    while (descriptor := _lock_now(home, operation)) is None:
        if time.monotonic() > deadline:
            raise InputError("The signing key is in use.", "Wait until rounds and enrolments are done.")
        time.sleep(_POLL_S)
    try:
        yield
    finally:
        os.close(descriptor)


def _lock_now(home: Home, operation: int) -> int | None:
    try:
        return lock(home.signing_key_lock, operation)
    except BlockingIOError:
        return None
