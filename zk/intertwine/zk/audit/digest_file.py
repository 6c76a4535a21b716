"""Sets of digests that survive a crash: a private file that only grows."""

import os
from pathlib import Path

from intertwine.protocols.errors import InputError
from intertwine.protocols.files import read_bounded, unwritable

_MAX_BYTES = 64 << 20
_LINE = 65


class DigestFile:
    """Digests (64 hexadecimal digits each), one a line; a line that a crash cut off is forgotten."""

    def __init__(self, path: Path) -> None:
        """InputError if the file exists and cannot be used."""
        self._path = path
        held = read_bounded(path, _MAX_BYTES) if path.exists() else b""
        whole = held[: len(held) - len(held) % _LINE]
        self._known = set(whole.decode("ascii", errors="replace").split("\n")) - {""}
        if any(len(line) != _LINE - 1 for line in self._known):
            raise InputError(f"{path} is damaged.", "Remove it; what it remembers is looked at again.")
        if whole != held:
            os.truncate(path, len(whole))

    def __contains__(self, digest: str) -> bool:
        return digest in self._known

    def add(self, *digests: str) -> None:
        """Keep digests; they are on disk when this returns."""
        new = list(dict.fromkeys(digest for digest in digests if digest not in self._known))
        if not new:
            return
        try:
            with os.fdopen(os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600), "wb") as file:
                file.write("".join(f"{digest}\n" for digest in new).encode())
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            raise unwritable(self._path, error) from error
        self._known.update(new)
