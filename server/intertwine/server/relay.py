"""Repeating on standard error what the processes that drive runs write to their common log file."""

import os
import sys
import threading
from pathlib import Path
from typing import TextIO

PERIOD_S = 1.0
_MOST_BYTES = 1 << 20
"""Read at once."""


class Relay:
    """A thread that repeats the lines which are appended to a file from now on; it may be replaced."""

    def __init__(self, path: Path, output: TextIO | None = None) -> None:
        self._path, self._output = path, output or sys.stderr
        self._position, self._file = 0, 0
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self._run, name="relay", daemon=True)

    def __enter__(self) -> "Relay":
        if self._path.exists():
            status = self._path.stat()
            self._position, self._file = status.st_size, status.st_ino
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ending.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._ending.wait(PERIOD_S):
            while self._repeat():
                pass
        self._repeat()

    def _repeat(self) -> bool:
        """Repeat some lines; whether there were any."""
        try:
            with self._path.open("rb") as file:
                number = os.fstat(file.fileno()).st_ino
                if number != self._file:
                    self._position, self._file = 0, number
                file.seek(self._position)
                whole, newline, _ = file.read(_MOST_BYTES).rpartition(b"\n")
        except OSError:
            return False  # there is no such file yet, or it is just being replaced
        self._position += len(whole) + len(newline)
        self._output.write((whole + newline).decode(errors="replace"))
        self._output.flush()
        return bool(newline)
