"""The bundle for auditors: the whole log and every blob that it names."""

from pathlib import Path

from intertwine.protocols.bundle import Manifest, write_bundle
from intertwine.protocols.entries import ModelEntry, PlanEntry, Publication, ReleaseEntry, decode_entry
from intertwine.server.store import Store


def export_bundle(store: Store, path: Path) -> Manifest:
    """Write the deployment's log, checkpoint and blobs to the new folder `path`."""
    checkpoint, leaves = store.checkpoint()
    entries = store.entries()[: len(leaves)]
    manifest = Manifest(origin=store.origin, log_key=store.deployment, size=len(entries))
    digests = {digest for data in entries for digest in _blobs_of(data)}
    blobs = {digest: store.blob_path(digest) for digest in digests}
    write_bundle(path, manifest, entries, checkpoint, blobs)
    return manifest


def _blobs_of(data: bytes) -> list[str]:
    entry = decode_entry(data)
    if isinstance(entry, PlanEntry):
        return [entry.plan.body.initial]
    if isinstance(entry, ReleaseEntry):
        return [entry.release.body.update, entry.release.body.proof]
    if isinstance(entry, ModelEntry):
        return [entry.parameters]
    if isinstance(entry, Publication):
        return [entry.parameters, entry.onnx]
    return []
