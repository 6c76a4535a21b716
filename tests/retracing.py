"""Retracing a recorded log without its proofs: what an auditor finds in it."""

from intertwine.protocols.entries import Entry
from intertwine.zk.audit.history import History
from tests.recording import Recording


def judged(recording: Recording) -> History:
    """The log retraced, its checkpoints included, but no proof."""
    history = History(
        recording.origin,
        recording.log_key.public,
        lambda size: recording.tree(size).root(size),
        lambda digest: recording.blobs[digest],
    )
    for index, entry in enumerate(recording.entries):
        history.add(index, entry)
    history.finish()
    return history


def finding(recording: Recording) -> tuple[str, int | None, str]:
    """The one check that fails, where, and why."""
    ((check, found),) = judged(recording).findings.items()
    return check, found.index, found.problem


def cut(recording: Recording, kind: type[Entry], number: int = 0) -> int:
    """Drop everything from this entry on; returns its position."""
    position = recording.position(kind, number)
    recording.entries[position:] = []
    return position
