"""A federation in memory that can misbehave: the real coordinator and participants, without processes.

Replies can be altered, withheld or replayed by `tamper`; all else is the production code, proofs included.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from intertwine.client.ledger import Ledger
from intertwine.client.participant import Identity, JoinedTask, Participant, Releaser, honest_release
from intertwine.models.registry import task as find_task
from intertwine.protocols.enrolment import EnrolmentRequest, Invitation
from intertwine.protocols.plan import Plan
from intertwine.protocols.signing import SigningKey
from intertwine.server.enrolment import enrol, invite
from intertwine.server.export import export_bundle
from intertwine.server.home import CoordinatorSettings, Home
from intertwine.server.launch import build_plan, launch
from intertwine.server.rounds import OnReply, RunDriver
from intertwine.server.store import Store

# Called with participant, kind of request ("commit" or "release") and reply; returns what arrives instead.
Tamper = Callable[[str, str, bytes], bytes | None]


def untouched(_participant: str, _kind: str, reply: bytes) -> bytes | None:
    """Every reply arrives as it was sent."""
    return reply


@dataclass
class Member:
    """One enrolled participant."""

    participant: Participant
    key: SigningKey
    ledger: Ledger
    node: int


@dataclass
class MemoryFederation:
    """One coordinator's home under `root`, and its participants."""

    root: Path
    tamper: Tamper = untouched
    members: dict[str, Member] = field(default_factory=dict)
    requests: list[tuple[str, bytes]] = field(default_factory=list)

    def __post_init__(self) -> None:
        settings = CoordinatorSettings(host="127.0.0.1", fleet_port=9092, control_port=8443)
        self.home = Home.create(self.root / "coordinator", settings)
        self.key = self.home.signing_key
        self.store = Store(self.home, self.key)

    def add(
        self,
        name: str,
        data: Mapping[str, Path],
        *,
        role: str = "security",
        releaser: Releaser = honest_release,
        max_epsilon: float = 10.0,
    ) -> Member:
        """Enrol a participant with these files."""
        token = invite(self.home, self.store, name, role, list(data), 3600)
        key, node = SigningKey.generate(), 1000 + len(self.members)
        secret = Invitation.from_token(token).secret
        node_key = f"ecdsa-sha2-nistp384 {name.encode().hex():A<136}"
        request = EnrolmentRequest.create(secret, node_key, key)
        enrol(self.home, self.store, request, lambda _key: node)
        identity = Identity(name, self.store.deployment, self.store.origin, key)
        tasks = {
            task: JoinedTask(find_task(task), find_task(task).load(path), max_epsilon)
            for task, path in data.items()
        }
        folder = self.root / name
        folder.mkdir()
        ledger = Ledger(folder / "ledger.db")
        self.members[name] = Member(Participant(identity, tasks, ledger, releaser), key, ledger, node)
        return self.members[name]

    def plan(self, task: str, run: str, **choices: object) -> Plan:
        """A plan from the task's recipe."""
        return build_plan(self.store, task, run, choices)

    def execute(self, plan: Plan) -> None:
        """Launch a run and drive it to its end."""
        launch(self.store, self.key, plan, lambda: 1)
        RunDriver(self.store, self.key, plan, self).execute()

    def exchange(
        self, requests: Mapping[int, bytes], timeout_s: float, on_reply: OnReply
    ) -> Mapping[int, str]:
        """The transport: hand each request to its participant, and the reply to the coordinator."""
        names = {member.node: name for name, member in self.members.items()}
        missing = {}
        for node, request in requests.items():
            name = names[node]
            self.requests.append((name, request))
            kind = "commit" if b'"kind":"CommitRequest"' in request else "release"
            reply = self.tamper(name, kind, self.members[name].participant.handle(request))
            if reply is None:
                missing[node] = "withheld"
            else:
                on_reply(node, reply)
        return missing

    def bundle(self) -> Path:
        """A fresh bundle of everything so far."""
        path = self.root / f"bundle-{len(list(self.root.glob('bundle-*')))}"
        export_bundle(self.store, path)
        return path
