"""Telling people when the SuperNode is connected, and once why it is not.

Flower's program says in its log that it is connected, or that it tries again; not why it is refused.
"""

import logging
import time
from collections.abc import Callable

from intertwine.client.supernode import SuperNode
from intertwine.protocols.doctor import Finding

_log = logging.getLogger(__name__)

_CONNECTED = ("SuperNode ID:", "Connection successful")
_RETRIES = "Connection attempt failed"
_READY = "ready"
_NO_ANSWER = Finding(
    "SuperLink",
    "fail",
    "The coordinator's SuperLink does not answer.",
    "See its log there.",
)
_LOOK_S = 1.0
_PATIENCE_S = 15.0
"""How long it may take to connect, or to connect again, before people are told."""


class Connection:
    """Follows one SuperNode through its lives.

    announce: called when it is connected, and again after people were told that it was not.
    obstacle: finds what keeps it from connecting, within some 15 s; None if it finds nothing.
    """

    def __init__(
        self, supernode: SuperNode, announce: Callable[[], None], obstacle: Callable[[], Finding | None]
    ) -> None:
        self._supernode = supernode
        self._announce = announce
        self._obstacle = obstacle
        self._told = ""  # what people were told last: _READY, or the name of a finding
        self.begin()

    def begin(self) -> None:
        """The SuperNode was started."""
        self._connected = self._retries = False
        self._look_at = time.monotonic()
        self._warn_at = self._look_at + _PATIENCE_S

    def look(self) -> None:
        """See what the SuperNode says, at most once a second, and tell people if something has changed."""
        now = time.monotonic()
        if now < self._look_at:
            return
        self._look_at = now + _LOOK_S
        self._follow()
        if not self._connected and now > self._warn_at:
            found = self._obstacle() or (_NO_ANSWER if self._retries else None)
            if found:
                self._warn(found)
            self._warn_at = time.monotonic() + _PATIENCE_S

    def ended(self) -> bool:
        """The SuperNode has ended by itself: people are told why if it was not connected; whether it was."""
        self._follow()
        if self._connected:
            self._told = ""
        else:
            self._warn(self._obstacle() or _refused(self._supernode.log_tail()))
        return self._connected

    def _follow(self) -> None:
        for line in self._supernode.new_lines():
            if any(mark in line for mark in _CONNECTED):
                self._connected = True
                if self._told != _READY:
                    self._told = _READY
                    self._announce()
            elif _RETRIES in line:
                if self._connected:
                    self._warn_at = time.monotonic() + _PATIENCE_S
                self._connected, self._retries = False, True

    def _warn(self, found: Finding) -> None:
        if self._told != found.name:
            self._told = found.name
            _log.warning("not connected to the coordinator: %s %s", found.text, found.remedy)


def _refused(tail: str) -> Finding:
    remedy = (
        "Another SuperNode may use the key in node.key, or have used it until a minute ago; "
        "see: intertwine agent doctor"
    )
    said = f"\n{tail}" if tail else ""
    return Finding("SuperNode", "fail", "The SuperNode was not let in.", f"{remedy}{said}")
