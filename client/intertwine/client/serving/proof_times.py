"""How long the participant's proofs took, as its ledger has it, for Prometheus.

The agent may be writing the ledger meanwhile, and it may be replaced: it is opened anew each time, for
reading only, and nothing of it is held.
"""

import logging
import sqlite3
import threading
from contextlib import closing
from pathlib import Path

from prometheus_client import CollectorRegistry, Histogram

_SECONDS = (0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 25.0, 60.0, 150.0)
_log = logging.getLogger(__name__)


class ProofTimes:
    """A histogram by task. A slot is looked at until it has a proof, so that a look costs next to nothing."""

    def __init__(self, ledger: Path, registry: CollectorRegistry) -> None:
        self._ledger = ledger
        self._seen: set[str] = set()
        self._lock = threading.Lock()
        self._seconds = Histogram(
            "intertwine_agent_proof_seconds",
            "Time that making the proof of a release took.",
            ("task",),
            buckets=_SECONDS,
            registry=registry,
        )

    def update(self) -> None:
        """Add the proofs that are new in the ledger; none if it cannot be read now."""
        with self._lock:
            try:
                for task, seconds in self._new():
                    self._seconds.labels(task).observe(seconds)
            except sqlite3.Error as error:
                _log.debug("the ledger cannot be read: %s", error)

    def _new(self) -> list[tuple[str, float]]:
        address = f"{self._ledger.absolute().as_uri()}?mode=ro"
        with closing(sqlite3.connect(address, uri=True, timeout=1.0)) as ledger:
            # Names come from the index alone: rows hold releases, which are large.
            slots = {slot for (slot,) in ledger.execute("SELECT slot FROM slots")} - self._seen
            one = "SELECT slot, task, prove_s FROM slots WHERE slot = ? AND prove_s > 0"
            found = [row for slot in slots for row in ledger.execute(one, (slot,))]
        self._seen.update(slot for slot, _, _ in found)
        return [(task, seconds) for _, task, seconds in found]
