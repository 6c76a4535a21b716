"""Merkle trees against known values and a computation of their own; checkpoints, beacons, publications."""

import base64
import hashlib
from collections.abc import Callable

import pytest

from intertwine.protocols.checkpoint import Checkpoint, open_checkpoint, sign_checkpoint
from intertwine.protocols.entries import Publication
from intertwine.protocols.errors import VerificationError
from intertwine.protocols.merkle import Frontier, Tree, leaf_hash, verify_consistency, verify_inclusion
from intertwine.protocols.publication import ModelRecord
from intertwine.protocols.round import InclusionProof, RoundId, derive_beacon, model_digest
from tests.recording import fixed_key

KEY = fixed_key("log")
# Entries and the roots of their first 1, 2, … 8, as Certificate Transparency's implementations test them.
ENTRIES = [
    "",
    "00",
    "10",
    "2021",
    "3031",
    "40414243",
    "5051525354555657",
    "606162636465666768696a6b6c6d6e6f",
]
ROOTS = [
    "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
    "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
    "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
    "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
]
LEAVES = [leaf_hash(bytes.fromhex(entry)) for entry in ENTRIES]
TREE = Tree(LEAVES)


@pytest.mark.parametrize("size", range(1, 9))
def test_published_roots(size: int) -> None:
    assert TREE.root(size).hex() == ROOTS[size - 1]


def test_a_frontier_has_the_roots_of_the_tree() -> None:
    frontier = Frontier()
    for size, leaf in enumerate(LEAVES, 1):
        frontier = Frontier(frontier.size, frontier.roots)
        frontier.append(leaf)
        assert frontier.root() == TREE.root(size)
    assert Frontier().root() == Tree().root(0)
    with pytest.raises(ValueError, match="3 leaves has 2 complete"):
        Frontier(3, bytes(32))


def test_empty_tree() -> None:
    assert Tree().root(0) == hashlib.sha256(b"").digest()


def test_inclusion_is_bound_to_everything() -> None:
    root, path = TREE.root(7), TREE.inclusion(4, 7)
    verify_inclusion(LEAVES[4], 4, 7, path, root)
    wrong: list[tuple[bytes, int, int, list[bytes], bytes]] = [
        (LEAVES[3], 4, 7, path, root),
        (LEAVES[4], 5, 7, path, root),
        (LEAVES[4], 4, 4, path, root),
        (LEAVES[4], 4, 7, path[:-1], root),
        (LEAVES[4], 4, 7, [*path, bytes(32)], root),
        (LEAVES[4], 4, 7, path[::-1], root),
        (LEAVES[4], 4, 7, [], root),
        (LEAVES[4], 4, 7, path, bytes(32)),
        (LEAVES[4], -1, 7, path, root),
        (LEAVES[4], 7, 7, path, root),
        (LEAVES[4], 0, 0, [], TREE.root(0)),
    ]
    for arguments in wrong:
        with pytest.raises(VerificationError) as caught:
            verify_inclusion(*arguments)
        assert caught.value.check == "log_inclusion"


@pytest.mark.parametrize(("old", "size"), [(1, 8), (3, 7), (4, 7), (6, 8), (8, 8)])
def test_consistency_is_bound_to_everything(old: int, size: int) -> None:
    old_root, root, path = TREE.root(old), TREE.root(size), TREE.consistency(old, size)
    verify_consistency(old, old_root, size, root, path)
    other = leaf_hash(b"another history")
    wrong: list[tuple[int, bytes, int, bytes, list[bytes]]] = [
        (old, other, size, root, path),
        (old, old_root, size, other, path),
        (old - 1, old_root, size, root, path),
        (size + 1, old_root, size, root, path),
        (old, old_root, size, root, [*path, other]),
        (old, old_root, size, root, [other, *path[1:]]),
        (0, old_root, size, root, [other]),
    ]
    for arguments in wrong:
        with pytest.raises(VerificationError) as caught:
            verify_consistency(*arguments)
        assert caught.value.check == "log_consistency"


@pytest.mark.parametrize(
    "ask",
    [
        lambda: TREE.root(9),
        lambda: TREE.inclusion(7, 7),
        lambda: TREE.consistency(5, 4),
        lambda: TREE.leaf(8),
    ],
)
def test_a_tree_refuses_what_it_has_not(ask: Callable[[], object]) -> None:
    with pytest.raises(IndexError):
        ask()


def test_inner_node_is_not_an_entry() -> None:
    """Leaf and node hashes have different prefixes, so a node's two halves are no entry of a smaller tree."""
    left, right = LEAVES[:2]
    assert leaf_hash(left + right) != TREE.root(2)


# Checkpoints

CHECKPOINT = Checkpoint("intertwine/test", 5, bytes(range(32)))
NOTE = sign_checkpoint(CHECKPOINT, KEY)


def test_checkpoint_round_trip() -> None:
    assert open_checkpoint(NOTE, "intertwine/test", KEY.public) == CHECKPOINT


def test_note_layout() -> None:
    """Against the C2SP specifications: key identifier, algorithm byte 1, signature over the body."""
    body, _, line = NOTE.partition("\n\n")
    assert body.split("\n") == ["intertwine/test", "5", base64.b64encode(bytes(range(32))).decode()]
    dash, name, encoded = line.removesuffix("\n").split(" ")
    assert (dash, name) == ("—", "intertwine/test")
    identifier = hashlib.sha256(b"intertwine/test\n\x01" + bytes.fromhex(KEY.public)).digest()[:4]
    assert base64.b64decode(encoded) == identifier + KEY.sign_raw(f"{body}\n".encode())


def other_trailing_bits(note: str) -> str:
    """Base64 of 68 bytes ends in one '='; the two last bits before it are not used."""
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
    last = note[-3]
    return note[:-3] + alphabet[alphabet.index(last) ^ 1] + note[-2:]


@pytest.mark.parametrize(
    "change",
    [
        lambda note: note.replace("\n5\n", "\n6\n"),
        lambda note: note.replace("\n5\n", "\n05\n"),
        lambda note: note.replace("\n5\n", "\n+5\n"),
        lambda note: note.replace("\n5\n", "\n-5\n"),
        lambda note: note.replace("\n5\n", "\n٥\n"),
        lambda note: note.replace("\n5\n", "\nfive\n"),
        lambda note: note.replace("intertwine/test", "intertwine/other"),
        lambda note: note + "\n",
        lambda note: note.rstrip("\n"),
        lambda note: note + note.split("\n\n")[1],
        lambda note: note.replace("—", "-"),
        lambda note: note.replace("\n\n", "\nextension\n\n"),
        lambda note: note[:-20] + note[-18:],
        other_trailing_bits,
        lambda note: "",
        lambda note: note + "a" * 5000,
        lambda note: sign_checkpoint(CHECKPOINT, fixed_key("mallory")),
        lambda note: sign_checkpoint(Checkpoint("intertwine/test", 5, bytes(31)), KEY),
        lambda note: sign_checkpoint(Checkpoint("intertwine/test", -5, bytes(32)), KEY),
        lambda note: sign_checkpoint(Checkpoint("intertwine/other", 5, bytes(32)), KEY),
    ],
)
def test_checkpoint_refused(change: Callable[[str], str]) -> None:
    changed = change(NOTE)
    assert changed != NOTE
    with pytest.raises(VerificationError) as caught:
        open_checkpoint(changed, "intertwine/test", KEY.public)
    assert caught.value.check == "checkpoint_signature"


# What rests on the log

ROUND = RoundId(deployment=KEY.public, run="spring", task="risk", number=1)


def test_beacon_depends_on_everything() -> None:
    values = {
        derive_beacon(ROUND, NOTE, bytes(32)),
        derive_beacon(ROUND.model_copy(update={"number": 2}), NOTE, bytes(32)),
        derive_beacon(ROUND, NOTE + "\n", bytes(32)),
        derive_beacon(ROUND, NOTE, bytes(31) + b"\x01"),
    }
    assert len(values) == 4
    assert {len(value) for value in values} == {32}


def test_model_digest_depends_on_everything() -> None:
    digests = {
        model_digest("risk", 57, 1),
        model_digest("risk", 58, 1),
        model_digest("risk", 57, 2),
        model_digest("x", 57, 1),
    }
    assert len(digests) == 4


def test_model_record() -> None:
    publication = Publication(time=1, round=ROUND, parameters="ab" * 32, onnx="cd" * 32)
    tree = Tree([*LEAVES[:3], leaf_hash(publication.encode())])
    path = [node.hex() for node in tree.inclusion(3, 4)]
    note = sign_checkpoint(Checkpoint("intertwine/test", 4, tree.root(4)), KEY)
    record = ModelRecord(
        publication=publication, inclusion=InclusionProof(index=3, path=path), checkpoint=note
    )
    assert record.verify("intertwine/test", KEY.public) == publication
    swapped = record.model_copy(update={"publication": publication.model_copy(update={"onnx": "ef" * 32})})
    with pytest.raises(VerificationError) as caught:
        swapped.verify("intertwine/test", KEY.public)
    assert caught.value.check == "log_inclusion"
    with pytest.raises(VerificationError) as caught:
        record.verify("intertwine/test", fixed_key("mallory").public)
    assert caught.value.check == "checkpoint_signature"
