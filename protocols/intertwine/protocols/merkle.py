"""Merkle tree hashing of RFC 6962, section 2.1: roots, inclusion proofs and their verification."""

import hashlib
from collections.abc import Sequence

from intertwine.protocols.errors import VerificationError


def leaf_hash(entry: bytes) -> bytes:
    """The hash of a leaf."""
    return hashlib.sha256(b"\x00" + entry).digest()


def root_hash(leaves: Sequence[bytes]) -> bytes:
    """The root over leaf hashes."""
    if not leaves:
        return hashlib.sha256(b"").digest()
    if len(leaves) == 1:
        return leaves[0]
    split = _split(len(leaves))
    return _node(root_hash(leaves[:split]), root_hash(leaves[split:]))


def inclusion_proof(leaves: Sequence[bytes], index: int) -> list[bytes]:
    """The audit path of leaf `index`, from the leaf upwards."""
    if len(leaves) <= 1:
        return []
    split = _split(len(leaves))
    if index < split:
        return [*inclusion_proof(leaves[:split], index), root_hash(leaves[split:])]
    return [*inclusion_proof(leaves[split:], index - split), root_hash(leaves[:split])]


def verify_inclusion(leaf: bytes, index: int, size: int, path: Sequence[bytes], root: bytes) -> None:
    """Check that `leaf` (a leaf hash) is entry `index` of the tree of `size` entries with this root.

    VerificationError `log_inclusion` if not.
    """
    if not 0 <= index < size or _climb(leaf, index, size, list(path)) != root:
        raise VerificationError("log_inclusion", f"entry {index} is not in the log of size {size}.")


def _climb(leaf: bytes, index: int, size: int, path: list[bytes]) -> bytes | None:
    if size == 1:
        return leaf if not path else None
    if not path:
        return None
    *below, sibling = path
    split = _split(size)
    if index < split:
        left = _climb(leaf, index, split, below)
        return None if left is None else _node(left, sibling)
    right = _climb(leaf, index - split, size - split, below)
    return None if right is None else _node(sibling, right)


def _node(left: bytes, right: bytes) -> bytes:
    return hashlib.sha256(b"\x01" + left + right).digest()


def _split(size: int) -> int:
    """The largest power of two smaller than `size`."""
    return 1 << ((size - 1).bit_length() - 1)
