"""Co-signatures: their bytes as C2SP tlog-cosignature defines them, and what is refused."""

import base64
import hashlib
import re
from collections.abc import Callable
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from intertwine.protocols.checkpoint import Checkpoint, log_verifier, open_checkpoint, sign_checkpoint
from intertwine.protocols.cosignature import (
    MAX_COSIGNED_BYTES,
    Cosigner,
    cosign,
    find_fork,
    open_cosigned,
    read_cosigned,
)
from intertwine.protocols.errors import InputError, VerificationError
from intertwine.protocols.merkle import Tree, leaf_hash, verify_consistency
from intertwine.protocols.note import COSIGNATURE_KEY, NoteSignature, SignedNote, VerifierKey
from intertwine.protocols.policy import Policy
from intertwine.protocols.witnessing import AddCheckpoint
from tests.recording import fixed_key

KEY = fixed_key("log")
ORIGIN = log_verifier(KEY.public).name
CHECKPOINT = Checkpoint(ORIGIN, 5, bytes(range(32)))
NOTE = sign_checkpoint(CHECKPOINT, KEY)
NAMES = {"ana": "ana.example/w", "ben": "ben.example/w"}
TIME = 1_700_000_000
ANA, BEN = (cosign(NOTE, NAMES[nickname], fixed_key(nickname), TIME) for nickname in NAMES)
POLICY = Policy.parse(
    f"log {log_verifier(KEY.public)}\n"
    + "".join(
        f"witness {nickname} {VerifierKey(name, COSIGNATURE_KEY, fixed_key(nickname).public)}\n"
        for nickname, name in NAMES.items()
    )
    + "group both all ana ben\nquorum both\n"
)


def test_published_note() -> None:
    """The example of Go's note package, which C2SP signed-note describes."""
    key = VerifierKey.parse("PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW")
    text = (
        "If you think cryptography is the answer to your problem,\n"
        "then you don't know what your problem is.\n"
    )
    line = (
        "— PeterNeumann x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKvqfqdngotpRZb6KE6Ryy"
        "BwJnAM=\n"
    )
    note = SignedNote.parse(f"{text}\n{line}", 4096)
    assert note.text == text
    assert note.encode() == f"{text}\n{line}"
    Ed25519PublicKey.from_public_bytes(bytes.fromhex(key.public)).verify(note.by(key) or b"", text.encode())


def test_published_cosignature_lines() -> None:
    """The example checkpoint of C2SP tlog-cosignature: its layout and the time that its witness states."""
    note = (
        "example.com/behind-the-sofa\n20852163\nCsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=\n\n"
        "— example.com/behind-the-sofa Az3grlgtzPICa5OS8npVmf1Myq/5IZniMp+ZJurmRDeOoRDe4URYN7u5/Zhcyv2q1gGz"
        "Gku9nTo+zyWE+xeMcTOAYQ8=\n"
        "— witness.example.com/w1 jWbPPwAAAABkGFDLEZMHwSRaJNiIDoe9DYn/zXcrtPHeolMI5OWXEhZCB9dlrDJsX3b2oyin1n"
        "PZqhf5nNo0xUe+mbIUBkBIfZ+qnA==\n"
    )
    signed = SignedNote.parse(note, 4096)
    assert Checkpoint.parse(signed.text).size == 20_852_163
    assert [line.name for line in signed.signatures] == [
        "example.com/behind-the-sofa",
        "witness.example.com/w1",
    ]
    assert [len(line.signature) for line in signed.signatures] == [64, 72]
    assert int.from_bytes(signed.signatures[1].signature[:8], "big") == 1_679_315_147


def test_layout() -> None:
    """Key identifier with type 4, big-endian time, and a signature over header, time and the note's text."""
    dash, name, encoded = ANA.removesuffix("\n").split(" ")
    data = base64.b64decode(encoded)
    public = bytes.fromhex(fixed_key("ana").public)
    assert (dash, name, len(data)) == ("—", "ana.example/w", 4 + 8 + 64)
    assert data[:4] == hashlib.sha256(b"ana.example/w\n\x04" + public).digest()[:4]
    assert data[4:12] == TIME.to_bytes(8, "big")
    message = f"cosignature/v1\ntime {TIME}\n{CHECKPOINT.body()}".encode()
    Ed25519PublicKey.from_public_bytes(public).verify(data[12:], message)


@pytest.mark.parametrize("lines", [[ANA, BEN], [BEN, ANA]])
def test_quorum_reached(lines: list[str]) -> None:
    found = open_cosigned(NOTE + "".join(lines), POLICY)
    assert found.checkpoint == CHECKPOINT
    assert found.cosigners == (Cosigner("ana", TIME), Cosigner("ben", TIME))


def test_others_are_ignored() -> None:
    """Lines by unknown names, and by a known name under another key, are nobody's that counts."""
    stranger = cosign(NOTE, "dan.example/w", fixed_key("dan"), TIME)
    namesake = cosign(NOTE, NAMES["ana"], fixed_key("dan"), TIME)
    assert open_cosigned(NOTE + stranger + ANA + namesake + BEN, POLICY).nicknames == {"ana", "ben"}
    assert read_cosigned(NOTE + stranger + namesake, POLICY).cosigners == ()


def test_without_witnesses() -> None:
    assert open_cosigned(NOTE, Policy.of_key(KEY.public)).checkpoint == CHECKPOINT
    assert open_cosigned(NOTE + ANA, Policy.of_key(KEY.public)).cosigners == ()


def test_the_logs_own_note_has_one_line() -> None:
    """A beacon hashes the note: further lines would give the coordinator a choice."""
    with pytest.raises(VerificationError, match="more than the log's own signature"):
        open_checkpoint(NOTE + ANA, ORIGIN, KEY.public)


@pytest.mark.parametrize("lines", [[], [ANA], [BEN]])
def test_quorum_missing(lines: list[str]) -> None:
    note = NOTE + "".join(lines)
    assert len(read_cosigned(note, POLICY).cosigners) == len(lines)
    with pytest.raises(VerificationError) as caught:
        open_cosigned(note, POLICY)
    assert caught.value.check == "cosignature_quorum"


def relabelled(line: str, change: Callable[[bytes], bytes]) -> str:
    """The line with another signature behind the same name and key identifier."""
    found = NoteSignature.parse(line.removesuffix("\n"))
    return NoteSignature(found.name, found.identifier, change(found.signature)).line()


OTHER_NOTE = sign_checkpoint(Checkpoint(ORIGIN, 5, bytes(32)), KEY)


@pytest.mark.parametrize(
    "line",
    [
        relabelled(ANA, lambda data: (TIME + 1).to_bytes(8, "big") + data[8:]),
        relabelled(ANA, lambda data: (2**63).to_bytes(8, "big") + data[8:]),
        relabelled(ANA, lambda data: data[:-1]),
        relabelled(ANA, lambda data: data + b"\x00"),
        relabelled(ANA, lambda data: data[:8]),
        relabelled(ANA, lambda data: data[:8] + fixed_key("ana").sign_raw(CHECKPOINT.body().encode())),
        relabelled(ANA, lambda data: data[:8] + bytes(64)),
        cosign(OTHER_NOTE, NAMES["ana"], fixed_key("ana"), TIME),
        ANA + cosign(NOTE, NAMES["ana"], fixed_key("ana"), TIME + 1),
    ],
)
def test_wrong_cosignature(line: str) -> None:
    """A wrong line by a witness that counts spoils the note, even where others are enough."""
    with pytest.raises(VerificationError) as caught:
        open_cosigned(NOTE + line + BEN, POLICY)
    assert caught.value.check == "cosignature"
    assert "'ana'" in caught.value.problem


@pytest.mark.parametrize(
    "note",
    [
        "",
        "\n\n",
        NOTE.partition("\n\n")[0],
        (NOTE + ANA).removesuffix("\n"),
        NOTE + ANA + "\n",
        NOTE + ANA.replace("—", "-"),
        NOTE + ANA.replace(" ", "  ", 1),
        NOTE + ANA.replace("=", ""),
        NOTE + "— ana.example/w AAAAAA==\n",
        NOTE + "— ana\u2003example AAAAAAA=\n",
        NOTE + "— ana+example AAAAAAA=\n",
        NOTE.replace("\n\n", "\nextension\n\n") + ANA,
        NOTE.replace("\n5\n", "\n05\n") + ANA,
        NOTE.replace("\n5\n", "\n6\n") + ANA,
        NOTE.replace("\n", "\r\n") + ANA,
        NOTE + NOTE.partition("\n\n")[2] + ANA,
        NOTE.partition("\n\n")[0] + "\n\n" + ANA + BEN,
        sign_checkpoint(CHECKPOINT, fixed_key("mallory")) + ANA + BEN,
        sign_checkpoint(Checkpoint("intertwine/other", 5, bytes(32)), KEY),
        NOTE + "— \ud800 AAAAAAA=\n",
        NOTE + ANA * (MAX_COSIGNED_BYTES // len(ANA) + 1),
    ],
)
def test_refused(note: str) -> None:
    with pytest.raises(VerificationError) as caught:
        open_cosigned(note, POLICY)
    assert caught.value.check == "checkpoint_signature"


def test_nothing_is_cosigned_but_notes() -> None:
    with pytest.raises(InputError, match="not a signed note"):
        cosign("hello", "ana", fixed_key("ana"), TIME)


def test_find_fork() -> None:
    later = sign_checkpoint(Checkpoint(ORIGIN, 6, bytes(32)), KEY)
    assert find_fork([], POLICY) is None
    assert find_fork([NOTE, NOTE + ANA, NOTE + BEN, later], POLICY) is None
    fork = find_fork([NOTE + ANA, later, OTHER_NOTE], POLICY)
    assert fork is not None
    assert (fork.size, fork.first, fork.second) == (5, NOTE + ANA, OTHER_NOTE)


def test_a_forged_note_is_no_fork() -> None:
    forged = sign_checkpoint(Checkpoint(ORIGIN, 5, bytes(32)), fixed_key("mallory"))
    with pytest.raises(VerificationError) as caught:
        find_fork([NOTE, forged], POLICY)
    assert caught.value.check == "checkpoint_signature"


def test_the_examples_of_the_specification() -> None:
    """The page's policy, note and request are what the code reads and writes."""
    page = (Path(__file__).parents[2] / "protocols" / "spec" / "log.md").read_text()
    _, note, text, body = re.findall(r"^```text\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)
    policy = Policy.parse(text)
    found = read_cosigned(note, policy)
    assert found.cosigners == (Cosigner("w1", 1_700_000_000),)
    assert [policy.satisfied(names) for names in (["w1"], ["w1", "union"])] == [False, True]
    request = AddCheckpoint.parse(body.encode())
    assert note.startswith(request.note)
    tree = Tree(leaf_hash(bytes([number])) for number in range(7))
    assert tree.root(7) == found.checkpoint.root
    verify_consistency(request.old, tree.root(4), 7, tree.root(7), request.proof)
