"""A log watched in memory: one life of `audit watch`, and what tests say of its alerts."""

import math
from collections.abc import Callable
from pathlib import Path

from intertwine.protocols.entries import (
    Act,
    InvitationIssued,
)
from intertwine.protocols.mechanism import ReleaseMechanism
from intertwine.protocols.policy import Policy
from intertwine.zk.audit.alert import Alert, AlertKind
from intertwine.zk.audit.http_client import HttpClient, Patience
from intertwine.zk.audit.live import LiveAudit
from intertwine.zk.audit.log_client import LogClient
from intertwine.zk.audit.watch import Watcher
from intertwine.zk.audit.watch_state import WatchState
from tests.log_server import LogServer
from tests.recording import Federation, Recording

HASTE = Patience(read_s=2.0, answer_s=2.0, pauses_s=(0.0,))
NOW = 1_800_000_000


class HonestFederation(Federation):
    """One round in which nothing goes wrong; cyd takes no part."""

    def play(self) -> Recording:
        self._enrol()
        script = ({"ana": "honest", "ben": "honest", "cyd": "absent"},)
        mechanism = ReleaseMechanism(update_bound=10)
        self._run(script, run="spring", mechanism=mechanism, record_bound=4, sigma=50)
        return self.record


class Watch:
    """One life of a watch; its folder outlives it."""

    def __init__(
        self,
        server: LogServer,
        folder: Path,
        policy: Policy,
        max_epsilon: float = math.inf,
        grace_s: float = 60,
    ) -> None:
        self.now = NOW
        self.state = WatchState(folder, policy.origin)
        client = LogClient(HttpClient(server.url, patience=HASTE))
        self.live = LiveAudit(policy, client, lambda: self.state.tree, self.state.verified, max_epsilon)
        witnesses = {each.nickname: HttpClient(each.url, patience=HASTE) for each in policy.witnesses}
        self.watcher = Watcher(
            policy,
            client,
            self.state,
            self.live,
            witnesses=witnesses,
            grace_s=grace_s,
            clock=lambda: self.now,
        )

    def step(self) -> list[Alert]:
        return list(self.watcher.step())


Start = Callable[..., Watch]


def only(alerts: list[Alert], kind: AlertKind, entry: int | None, words: str = "") -> Alert:
    """The one alert there is."""
    assert [alert.kind for alert in alerts] == [kind], alerts
    assert alerts[0].entry == entry, alerts
    assert words in alerts[0].problem, alerts
    return alerts[0]


def long_log(recording: Recording, size: int) -> None:
    """Make the recording so long, with entries that cost nothing."""
    terms = {"expires": NOW, "participant": "dee", "role": "smb", "tasks": ["risk"]}
    acts = [Act(time=time, act=InvitationIssued(number=time, **terms)) for time in range(1, size)]
    recording.entries[1:] = acts


def forked(recording: Recording, at: int) -> Recording:
    """Another history with the same key: from entry `at` on, times are one second later."""
    other = recording.copy()
    for position in range(at, len(other.entries)):
        entry = other.entries[position]
        other.entries[position] = entry.model_copy(update={"time": entry.time + 1})
    return other
