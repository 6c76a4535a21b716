"""The one app bundle: its form, its hash, and the refusal of every other."""

import hashlib
import io
import tomllib
import zipfile

import pytest

from intertwine.protocols.encoding import MAX_DOCUMENT_BYTES
from intertwine.protocols.envelope import Envelope
from intertwine.protocols.errors import VerificationError
from intertwine.protocols.fab import PAYLOAD_LIMIT, RUN_KEYS, check_fab, fab_sha256, manifest_fab
from intertwine.protocols.plan import MAX_DIMENSION
from intertwine.server import rounds


def archive() -> zipfile.ZipFile:
    return zipfile.ZipFile(io.BytesIO(manifest_fab()))


def test_bundle_is_a_manifest_without_code() -> None:
    assert archive().namelist() == ["pyproject.toml", ".info/CONTENT"]
    app = tomllib.loads(archive().read("pyproject.toml").decode())["tool"]["flwr"]["app"]
    assert app["components"]["serverapp"] == "intertwine.server.flower_app:app"
    assert tuple(app["config"]) == RUN_KEYS


def test_every_message_that_a_decoder_admits_fits() -> None:
    request = Envelope(bytes(MAX_DOCUMENT_BYTES), (bytes(8 * MAX_DIMENSION),))
    release = Envelope(bytes(rounds.MAX_REPLY_BYTES), tuple(bytes(size) for size in rounds._ATTACHMENTS))
    for message in (request, release):
        assert len(message.to_bytes()) <= PAYLOAD_LIMIT < 3 << 20


def test_content_list_holds_digest_and_size_in_bits() -> None:
    manifest = archive().read("pyproject.toml")
    name, digest, bits = archive().read(".info/CONTENT").decode().split(",")
    assert (name, digest, int(bits)) == (
        "pyproject.toml",
        hashlib.sha256(manifest).hexdigest(),
        len(manifest) * 8,
    )


def test_bytes_are_the_same_on_every_machine() -> None:
    """A constant: agents of one release refuse the bundle of another, so a change must be meant."""
    assert all(entry.compress_type == zipfile.ZIP_STORED for entry in archive().infolist())
    assert fab_sha256() == hashlib.sha256(manifest_fab()).hexdigest()
    assert fab_sha256() == "f777ca28f66af2b04fcaa274e6d72ae27c043fd20d3207eb1dc48cd794e892d5"


def test_the_bundle_is_accepted() -> None:
    check_fab(manifest_fab())


@pytest.mark.parametrize("defect", ["code_added", "byte_appended", "empty", "not_a_zip"])
def test_every_other_bundle_is_refused(defect: str) -> None:
    buffer = io.BytesIO(manifest_fab())
    with zipfile.ZipFile(buffer, "a") as changed:
        changed.writestr("intertwine/__init__.py", "raise SystemExit")
    content = {
        "code_added": buffer.getvalue(),
        "byte_appended": manifest_fab() + b"\0",
        "empty": b"",
        "not_a_zip": b"PK" * 300,
    }[defect]
    with pytest.raises(VerificationError) as refusal:
        check_fab(content)
    assert refusal.value.check == "fab"
