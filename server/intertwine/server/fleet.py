"""The coordinator's side of an exchange: one opaque request to each node, the replies as they come.

Where the time goes. A Flower SuperNode asks for work and sleeps 3 s when there was none; while the
participant works it looks every 0.5 s whether the reply is there. An exchange of four nodes therefore takes
3.5 to 4.7 s, nearly all of it sleep. It cannot be woken, but does not sleep while there is work: `Fleet`
keeps two empty requests queued for each node, which the participant's executor answers after half a second,
so that a real one waits for one of them at most. That makes 1.5 to 2 s an exchange, and costs the SuperLink
a third of a core for four nodes, so it ends `_AWAKE_S` after the last reply.
"""

import enum
import logging
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import TracebackType
from typing import Self

import httpx
from flwr.app import ConfigRecord, Message, RecordDict
from flwr.common.constant import ErrorCode
from flwr.serverapp import Grid

from intertwine.protocols.errors import InputError
from intertwine.protocols.fab import AWAKE_TYPE, FIELD, PAYLOAD_LIMIT, RECORD, REQUEST_TYPE
from intertwine.server._grid import pull_replies

_log = logging.getLogger(__name__)

_POLL_S = (0.1, 0.5)
"""Shortest and longest pause between two looks for replies; it grows with the time already waited."""
_EXPIRY_MARGIN_S = 5.0
"""A request expires that much after its exchange: a late node is found here, not by Flower's error."""
_LOOK_S = 2.0
"""Pause between two looks for nodes that are to be asked, or asked again."""
_ASK_AGAIN_S = 20.0
_AWAKE_S = 30.0
_AWAKE_NODES = 8
"""A larger fleet is left to sleep: each node kept awake costs the SuperLink some 8% of a core."""
_AWAKE_POLL_S = 0.2
_AWAKE_DEPTH = 2
"""Empty requests to keep for each node: one that it has in hand, and one for when it is done with that."""
_AWAKE_TTL_S = 600.0
_AWAKE_AHEAD_S = 60.0
"""Empty requests are dated ahead: a node gets the oldest first, so a real one overtakes them."""


class FailureKind(enum.Enum):
    """Why a node gave no reply."""

    OFFLINE = "offline"
    ERROR = "error"
    TIMED_OUT = "timed out"


@dataclass(frozen=True)
class Failure:
    """No reply. reason: for the log; it never holds what the participant's code raised."""

    kind: FailureKind
    reason: str


Reply = bytes | Failure
"""What came back from a node: its payload, or why there is none."""


class Fleet:
    """The nodes of one run, seen from inside Flower's ServerApp process; a context manager.

    Safe to use from one thread at a time.
    """

    def __init__(self, grid: Grid) -> None:
        self._grid = grid
        self._lock = threading.Lock()  # the grid's connection is shared with the thread of `_awake`
        self._awake = _KeepAwake(grid, self._lock)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._awake.stop()

    def online(self) -> set[int]:
        """Ids of the nodes that sent a sign of life within the last minute."""
        with self._lock:
            return set(self._grid.get_node_ids())

    def exchange(
        self,
        requests: Mapping[int, bytes],
        timeout_s: float,
        on_reply: Callable[[int, bytes], None] | None = None,
    ) -> dict[int, Reply]:
        """Send each node its request and wait for all replies, `timeout_s` seconds at most.

        A node that stays silent or drops out is asked again: an agent that was restarted has lost the
        request. One that is not connected is not waited for, but asked if it comes while others are.

        requests: node id to payload, each at most `PAYLOAD_LIMIT` bytes (InputError).
        on_reply: called in this thread with node id and payload, as each reply comes, once a node.
        Returns one entry for each key of `requests`. A reply that comes too late is never seen.
        """
        for node, payload in requests.items():
            if len(payload) > PAYLOAD_LIMIT:
                raise InputError(
                    f"The request to node {node} has {len(payload)} bytes.", "Send less at once."
                )
        started = time.monotonic()
        asking = _Asking(requests, started + timeout_s)
        look = started
        while (now := time.monotonic()) <= asking.deadline:
            if now >= look:
                self._ask(asking)
                look = now + _LOOK_S
            for node, reply in self._collect(asking):
                self._awake.keep(frozenset(asking.asked))
                if on_reply is not None and isinstance(reply, bytes):
                    on_reply(node, reply)
            if not asking.open:
                break
            time.sleep(min(max((now - started) / 20, _POLL_S[0]), _POLL_S[1]))
        late = Failure(FailureKind.TIMED_OUT, f"no reply within {timeout_s:g} s")
        return {node: asking.replies.get(node) or asking.away.get(node, late) for node in requests}

    def _ask(self, asking: "_Asking") -> None:
        """Ask the nodes that are there and were not asked, or have been silent for long."""
        online, now = self.online(), time.monotonic()
        for node, payload in asking.requests.items():
            if node in asking.replies or now < asking.asked.get(node, -_ASK_AGAIN_S) + _ASK_AGAIN_S:
                continue
            if node not in online:
                asking.away.setdefault(node, Failure(FailureKind.OFFLINE, "not connected"))
                continue
            # One by one: a node that asks between a message's announcement and its upload pauses for 1 s.
            expires_s = asking.deadline - now + _EXPIRY_MARGIN_S
            with self._lock:
                sent = list(self._grid.push_messages([_request(node, payload, expires_s)]))
            asking.asked[node] = now
            asking.away.pop(node, None)
            if sent and sent[0]:
                asking.waiting[sent[0]] = node
            else:
                asking.replies[node] = Failure(FailureKind.ERROR, "the SuperLink did not take the request")
        self._awake.keep(frozenset(asking.asked))

    def _collect(self, asking: "_Asking") -> list[tuple[int, Reply]]:
        """Replies that have come by now, the first of each node."""
        with self._lock:
            messages = pull_replies(self._grid, list(asking.waiting))
        found = []
        for request, message in messages.items():
            # An error made by the SuperLink names the SuperLink as its source: only the reply-to id tells.
            node, reply = asking.waiting.pop(request), _read(message)
            if node in asking.replies:
                continue
            if isinstance(reply, Failure) and reply.kind is FailureKind.OFFLINE:
                asking.away[node] = reply
                asking.asked[node] = -_ASK_AGAIN_S  # it is asked again as soon as it is back
                continue
            asking.replies[node] = reply
            found.append((node, reply))
        return found


@dataclass
class _Asking:
    """One exchange under way.

    asked: when each node was asked last. waiting: requests without a reply, by message id. away: why a node
    that may still come has not answered.
    """

    requests: Mapping[int, bytes]
    deadline: float
    replies: dict[int, Reply] = field(default_factory=dict)
    asked: dict[int, float] = field(default_factory=dict)
    waiting: dict[str, int] = field(default_factory=dict)
    away: dict[int, Failure] = field(default_factory=dict)

    @property
    def open(self) -> bool:
        """Whether a node that was asked has not answered."""
        return any(node not in self.replies for node in self.asked)


class _KeepAwake:
    """Keeps one empty request queued for each node of the last exchange, in a thread of its own."""

    def __init__(self, grid: Grid, lock: threading.Lock) -> None:
        self._grid = grid
        self._lock = lock
        self._nodes: frozenset[int] = frozenset()
        self._until = 0.0
        self._queued: dict[str, int] = {}
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name="keep-awake", daemon=True)

    def keep(self, nodes: frozenset[int]) -> None:
        """Keep these nodes awake for the next `_AWAKE_S` seconds."""
        self._nodes = nodes if len(nodes) <= _AWAKE_NODES else frozenset()
        self._until = time.monotonic() + _AWAKE_S
        if not self._thread.is_alive() and not self._stopped.is_set():
            self._thread.start()

    def stop(self) -> None:
        self._stopped.set()
        if self._thread.is_alive():
            self._thread.join()

    def _run(self) -> None:
        try:
            while not self._stopped.wait(_AWAKE_POLL_S):
                if time.monotonic() < self._until:
                    self._refill()
        except httpx.HTTPStatusError as error:  # as when the run was stopped
            _log.info("the nodes are no longer kept awake: HTTP status %d", error.response.status_code)
        except Exception:
            # Rounds only get slower without it.
            _log.exception("the nodes are no longer kept awake")

    def _refill(self) -> None:
        with self._lock:
            for answered in pull_replies(self._grid, list(self._queued)):
                del self._queued[answered]
            held = Counter(self._queued.values())
            idle = [node for node in self._nodes for _ in range(_AWAKE_DEPTH - held[node])]
            for node in idle:
                for message_id in self._grid.push_messages([_empty_request(node)]):
                    self._queued[message_id] = node


def _request(node: int, payload: bytes, ttl_s: float) -> Message:
    return Message(RecordDict({RECORD: ConfigRecord({FIELD: payload})}), node, REQUEST_TYPE, ttl=ttl_s)


def _empty_request(node: int) -> Message:
    message = Message(RecordDict(), node, AWAKE_TYPE, ttl=_AWAKE_TTL_S)
    message.metadata.created_at += _AWAKE_AHEAD_S
    return message


def _read(message: Message | None) -> Reply:
    if message is None:
        return Failure(FailureKind.ERROR, "the reply was announced and never came")
    if message.has_error():
        offline = message.error.code == ErrorCode.NODE_UNAVAILABLE
        kind = FailureKind.OFFLINE if offline else FailureKind.ERROR
        return Failure(kind, f"Flower error {message.error.code}: {message.error.reason}")
    record = message.content.get(RECORD)
    payload = record.get(FIELD) if isinstance(record, ConfigRecord) else None
    if not isinstance(payload, bytes) or len(payload) > PAYLOAD_LIMIT:
        return Failure(FailureKind.ERROR, "the reply is malformed or too large")
    return payload
