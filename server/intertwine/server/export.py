"""The bundle for auditors: the whole log and every blob that it names."""

from pathlib import Path

from intertwine.protocols.bundle import Manifest, write_bundle
from intertwine.protocols.entries import blobs_of, decode_entry
from intertwine.server.store import Store


def export_bundle(store: Store, path: Path) -> Manifest:
    """Write the deployment's log, checkpoint and blobs to the new folder `path`."""
    view = store.view()
    entries = store.entries()[: view.size]
    manifest = Manifest(origin=store.origin, log_key=store.deployment, size=len(entries))
    digests = {digest for data in entries for digest in blobs_of(decode_entry(data))}
    blobs = {digest: store.blob_path(digest) for digest in digests}
    write_bundle(path, manifest, entries, view.checkpoint, blobs)
    return manifest
