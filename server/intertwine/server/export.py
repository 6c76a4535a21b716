"""The bundle for auditors: the whole log, and the files of one run or of all."""

from collections.abc import Collection, Iterator
from pathlib import Path

from intertwine.protocols.bundle import MAX_EARLIER, EarlierCheckpoint, Manifest, run_of, write_bundle
from intertwine.protocols.entries import Publication, blobs_of, decode_entry
from intertwine.protocols.policy import Policy
from intertwine.server.cosigning import gather
from intertwine.server.store import LogView, Store

_AT_ONCE = 1000


def export_bundle(
    store: Store, path: Path, runs: Collection[str] = (), policy: Policy | None = None
) -> Manifest:
    """Write the log, a checkpoint and the files of `runs`, by default of all, to the new file `path`.

    Enrolled records' commitments and proofs are always there, since other runs' entries cannot be judged
    without them. With a policy its witnesses are asked to co-sign; an auditor's policy decides whether those
    that did are enough. InputError for a run that does not exist.
    """
    chosen = sorted({store.run(name).name for name in runs} or {run.name for run in store.runs()})
    view = gather(store, policy) if policy else store.view()
    digests: set[str] = set()
    publications = []
    for position, data in enumerate(_entries(store, view.size)):
        entry = decode_entry(data)
        if run_of(entry) in (None, *chosen):
            digests.update(blobs_of(entry))
            if isinstance(entry, Publication):
                publications.append(view.inclusion(position))
    return write_bundle(
        path,
        origin=store.origin,
        log_key=store.deployment,
        runs=chosen,
        entries=_entries(store, view.size),
        checkpoint=view.checkpoint,
        earlier=_earlier(store, view),
        publications=publications,
        blobs={digest: store.blob_path(digest) for digest in digests},
    )


def _earlier(store: Store, view: LogView) -> list[EarlierCheckpoint]:
    """The newest of the other checkpoints that witnesses have co-signed, by size."""
    return [
        EarlierCheckpoint(
            checkpoint=note, consistency=[node.hex() for node in view.tree.consistency(size, view.size)]
        )
        for size, note in reversed(store.cosigned(MAX_EARLIER))
        if size < view.size
    ]


def _entries(store: Store, size: int) -> Iterator[bytes]:
    """The first `size` entries, some at a time."""
    for start in range(0, size, _AT_ONCE):
        yield from store.entries(start, min(start + _AT_ONCE, size))
