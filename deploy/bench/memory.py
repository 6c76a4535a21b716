"""The memory of a process and all its descendants, sampled while they run."""

import threading
from pathlib import Path
from types import TracebackType
from typing import Self

_INTERVAL_S = 0.05
_PROC = Path("/proc")


class PeakMemory:
    """Watches a process tree from `watch` until the end of its `with` block.

    peak_mb: the largest sum of proportional set sizes seen, in 10^6 bytes; None where the system tells none,
    which only Linux does. Pages that processes share count once.
    """

    def __init__(self) -> None:
        self.peak_mb: float | None = None
        self._process = 0
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._sample, daemon=True)

    def watch(self, process: int) -> None:
        """Begin with the process of this number and its descendants."""
        self._process = process
        self._thread.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ended.set()
        if self._thread.is_alive():
            self._thread.join()

    def _sample(self) -> None:
        while not self._ended.wait(_INTERVAL_S):
            size = sum(map(_proportional_bytes, tree(self._process))) / 1e6
            if size:
                self.peak_mb = max(self.peak_mb or 0.0, size)


def tree(process: int) -> list[int]:
    """The process and its descendants; a process that ends meanwhile is left out."""
    found = [process]
    for parent in found:  # grows while it is read
        for path in _PROC.glob(f"{parent}/task/*/children"):
            found += map(int, _read(path).split())
    return found


def _proportional_bytes(process: int) -> int:
    for line in _read(_PROC / str(process) / "smaps_rollup").splitlines():
        if line.startswith("Pss:"):
            return int(line.split()[1]) * 1024
    return 0


def _read(path: Path) -> str:
    try:
        return path.read_text()
    except OSError:
        return ""
