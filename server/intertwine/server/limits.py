"""How often the public servers may be asked: token buckets by client address and by caller."""

import ipaddress
import math
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Hashable
from dataclasses import dataclass, field

from intertwine.protocols.errors import IntertwineError

MOST_BUCKETS = 10_000
"""Buckets that are kept; the one that was used longest ago gives way, and begins full again."""


class LimitError(IntertwineError):
    """Too many requests; `wait_s` whole seconds from now there may be another one."""

    def __init__(self, wait_s: float) -> None:
        self.wait_s = max(1, math.ceil(wait_s))
        super().__init__("There were too many requests.", f"Try again in {self.wait_s} s.")


class TokenBuckets:
    """One bucket for each key: it holds `burst` tokens, and gets `rate` new ones a second. Thread-safe."""

    def __init__(self, rate: float, burst: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._rate, self._burst, self._clock = rate, float(burst), clock
        self._buckets: OrderedDict[Hashable, tuple[float, float]] = OrderedDict()
        self._lock = threading.Lock()

    def take(self, key: Hashable) -> None:
        """Take a token; LimitError if there is none."""
        with self._lock:
            now = self._clock()
            level, since = self._buckets.pop(key, (self._burst, now))
            level = min(self._burst, level + self._rate * (now - since))
            taken = level >= 1
            self._buckets[key] = level - taken, now
            if len(self._buckets) > MOST_BUCKETS:
                self._buckets.popitem(last=False)
        if not taken:
            raise LimitError((1 - level) / self._rate)


@dataclass(frozen=True)
class Limits:
    """What is admitted: for each address on the log, the fleet, enrolment and all else, and for each caller.

    Participants may share an address, so addresses are given more than callers; a watcher reads a long log
    and its files one by one. A node makes some ten requests a second during a round. denials: how many of
    them, by anyone, are told to the log.
    """

    fleet: TokenBuckets = field(default_factory=lambda: TokenBuckets(500, 5000))
    log: TokenBuckets = field(default_factory=lambda: TokenBuckets(300, 3000))
    enrolments: TokenBuckets = field(default_factory=lambda: TokenBuckets(0.2, 40))
    others: TokenBuckets = field(default_factory=lambda: TokenBuckets(30, 300))
    callers: TokenBuckets = field(default_factory=lambda: TokenBuckets(10, 100))
    denials: TokenBuckets = field(default_factory=lambda: TokenBuckets(1, 100))

    def admit_address(self, address: str, path: str) -> None:
        """LimitError if this address has asked for such paths too often."""
        kinds = {"log": self.log, "fleet": self.fleet, "enrolments": self.enrolments}
        kind = path.removeprefix("/v1/").partition("/")[0]
        kinds.get(kind, self.others).take(_network(address))


def _network(address: str) -> str:
    """The address; of IPv6 the /64, all of which one client has at its hands."""
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return address
    return address if parsed.version == 4 else str(ipaddress.ip_network((parsed, 64), strict=False))
