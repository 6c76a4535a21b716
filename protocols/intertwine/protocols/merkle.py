"""Merkle tree hashing of RFC 6962, section 2.1: roots, inclusion and consistency proofs."""

import hashlib
from collections.abc import Iterable, Sequence

from intertwine.protocols.errors import VerificationError

HASH_BYTES = 32


def leaf_hash(entry: bytes) -> bytes:
    """The hash of a leaf."""
    return hashlib.sha256(b"\x00" + entry).digest()


class Tree:
    """A tree that grows: root and proofs for any of its sizes take a time logarithmic in the size.

    It keeps the hash of every complete subtree, 64 bytes a leaf in all.
    """

    def __init__(self, leaves: Iterable[bytes] = ()) -> None:
        self._levels = [bytearray()]  # level k: the roots of the complete subtrees of 2^k leaves, in order
        for leaf in leaves:
            self.append(leaf)

    def __len__(self) -> int:
        return len(self._levels[0]) // HASH_BYTES

    def append(self, leaf: bytes) -> None:
        """Add a leaf hash."""
        self._levels[0] += leaf
        for below, above in zip(self._levels, self._levels[1:], strict=False):
            if len(below) % (2 * HASH_BYTES):
                return
            above.extend(_node(below[-2 * HASH_BYTES :]))
        if len(self._levels[-1]) == 2 * HASH_BYTES:
            self._levels.append(bytearray(_node(self._levels[-1])))

    def leaf(self, index: int) -> bytes:
        """Leaf hash `index`; IndexError if there is none."""
        if not 0 <= index < len(self):
            raise IndexError(f"the tree has no leaf {index}")
        return self._subtree(0, index)

    def root(self, size: int) -> bytes:
        """The root over the first `size` leaves; IndexError if there are fewer."""
        if not 0 <= size <= len(self):
            raise IndexError(f"the tree has {len(self)} leaves, not {size}")
        return self._root(0, size) if size else hashlib.sha256(b"").digest()

    def inclusion(self, index: int, size: int) -> list[bytes]:
        """The audit path of leaf `index` in the tree of the first `size` leaves, from the leaf upwards."""
        if not 0 <= index < size <= len(self):
            raise IndexError(f"leaf {index} is not among {size} of {len(self)} leaves")
        path, start, end = [], 0, size
        while end - start > 1:
            middle = start + _split(end - start)
            path.append(self._root(middle, end) if index < middle else self._root(start, middle))
            start, end = (start, middle) if index < middle else (middle, end)
        return path[::-1]

    def consistency(self, old: int, size: int) -> list[bytes]:
        """The proof that the first `old` leaves are a prefix of the first `size`; empty if `old` is 0."""
        if not 0 <= old <= size <= len(self):
            raise IndexError(f"{old} and {size} are not sizes of a tree of {len(self)} leaves")
        path, start, end = [], 0, size
        while old not in (start, end):
            middle = start + _split(end - start)
            path.append(self._root(middle, end) if old <= middle else self._root(start, middle))
            start, end = (start, middle) if old <= middle else (middle, end)
        if start:
            path.append(self._root(start, end))
        return path[::-1]

    def _root(self, start: int, end: int) -> bytes:
        """The root over leaves start … end-1; start is a multiple of a power of two that is no smaller."""
        size = end - start
        if size & (size - 1) == 0:
            level = size.bit_length() - 1
            return self._subtree(level, start >> level)
        middle = start + _split(size)
        return _node(self._root(start, middle) + self._root(middle, end))

    def _subtree(self, level: int, index: int) -> bytes:
        return bytes(self._levels[level][HASH_BYTES * index : HASH_BYTES * (index + 1)])


class Frontier:
    """A tree that grows, and of which only the roots of its largest complete subtrees are kept.

    It has a root at its present size alone, and no proofs. roots: of those subtrees, the largest first, one
    after the other; there is one for each bit of `size` that is set.
    """

    def __init__(self, size: int = 0, roots: bytes = b"") -> None:
        if len(roots) != HASH_BYTES * size.bit_count():
            raise ValueError(f"a tree of {size} leaves has {size.bit_count()} complete subtrees")
        self.size = size
        self.roots = roots

    def append(self, leaf: bytes) -> None:
        """Add a leaf hash."""
        self.roots += leaf
        complete = self.size
        while complete & 1:
            self.roots = self.roots[: -2 * HASH_BYTES] + _node(self.roots[-2 * HASH_BYTES :])
            complete >>= 1
        self.size += 1

    def root(self) -> bytes:
        """The root over all leaves."""
        if not self.size:
            return hashlib.sha256(b"").digest()
        *left, root = (self.roots[at : at + HASH_BYTES] for at in range(0, len(self.roots), HASH_BYTES))
        for subtree in reversed(left):
            root = _node(subtree + root)
        return root


def verify_inclusion(leaf: bytes, index: int, size: int, path: Sequence[bytes], root: bytes) -> None:
    """Check that `leaf` (a leaf hash) is entry `index` of the tree of `size` entries with this root.

    VerificationError `log_inclusion` if not.
    """
    if not 0 <= index < size or _climb(leaf, index, size, path) != root:
        raise VerificationError("log_inclusion", f"entry {index} is not in the log of size {size}.")


def verify_consistency(old: int, old_root: bytes, size: int, root: bytes, path: Sequence[bytes]) -> None:
    """Check that the log of size `old` is a prefix of the log of this size and root.

    VerificationError `log_consistency` if not. Every log has the empty one as a prefix.
    """
    if old == 0 and not path:
        return
    if not 0 < old <= size or _grow(old, old_root, size, path) != (old_root, root):
        raise VerificationError("log_consistency", f"the log of size {size} does not extend that of {old}.")


def _climb(leaf: bytes, index: int, size: int, path: Sequence[bytes]) -> bytes | None:
    if size == 1:
        return leaf if not path else None
    if not path:
        return None
    *below, sibling = path
    split = _split(size)
    if index < split:
        left = _climb(leaf, index, split, below)
        return None if left is None else _node(left + sibling)
    right = _climb(leaf, index - split, size - split, below)
    return None if right is None else _node(sibling + right)


def _grow(old: int, old_root: bytes | None, size: int, path: Sequence[bytes]) -> tuple[bytes, bytes] | None:
    """Old and new root of a subtree by a proof; old_root: the old one, if all of it is in the subtree."""
    if old == size:
        if old_root is not None:
            return None if path else (old_root, old_root)
        return (path[0], path[0]) if len(path) == 1 else None
    if not path:
        return None
    *below, sibling = path
    split = _split(size)
    if old <= split:
        left = _grow(old, old_root, split, below)
        return None if left is None else (left[0], _node(left[1] + sibling))
    right = _grow(old - split, None, size - split, below)
    return None if right is None else (_node(sibling + right[0]), _node(sibling + right[1]))


def _node(children: bytes | bytearray) -> bytes:
    return hashlib.sha256(b"\x01" + children).digest()


def _split(size: int) -> int:
    """The largest power of two smaller than `size`, which is at least 2."""
    return 1 << ((size - 1).bit_length() - 1)
