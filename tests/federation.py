"""A federation in memory that can misbehave: the real coordinator and participants, without processes.

Replies can be altered, withheld or replayed by `tamper`; all else is the production code, proofs included.
"""

import math
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TypeVar

from intertwine.client.dataset_enrolment import Send, enrol_records
from intertwine.client.datasets import Datasets, Records
from intertwine.client.identity import Identity
from intertwine.client.ledger import Ledger
from intertwine.client.openings import Vector
from intertwine.client.participant import JoinedTask, Participant, Releaser, ReleaseWork, honest_release
from intertwine.client.policy import Policy
from intertwine.models.registry import task as find_task
from intertwine.models.task import DataBoundTask
from intertwine.protocols.enrolment import EnrolmentRequest, Invitation
from intertwine.protocols.entries import Entry, decode_entry
from intertwine.protocols.errors import InputError, VerificationError
from intertwine.protocols.keys import sign_new_key
from intertwine.protocols.plan import Plan
from intertwine.protocols.policy import Policy as LogPolicy
from intertwine.protocols.signing import SigningKey
from intertwine.server.cosigning import coordinator_policy
from intertwine.server.datasets import enrol_dataset
from intertwine.server.enrolment import enrol, invite
from intertwine.server.export import export_bundle
from intertwine.server.home import CoordinatorSettings, Home
from intertwine.server.launch import build_plan, launch
from intertwine.server.membership import change_key, key_status, revoke
from intertwine.server.rounds import OnReply, RunDriver
from intertwine.server.store import Store
from intertwine.zk.audit import verify_bundle
from intertwine.zk.dataset import Shape

E = TypeVar("E", bound=Entry)

ANY_PLAN = Policy(min_noise=0.0, max_record_norm=math.inf, max_rounds=1000, max_delta=1.0)
"""Limits that no plan exceeds."""

# Called with participant, kind of request ("commit" or "release") and reply; returns what arrives instead.
Tamper = Callable[[str, str, bytes], bytes | None]


def untouched(_participant: str, _kind: str, reply: bytes) -> bytes | None:
    """Every reply arrives as it was sent."""
    return reply


def halved_noise(work: ReleaseWork) -> tuple[Vector, bytes]:
    """A releaser that halves its noise, and forges the proof as well as it can."""
    update = work.total + work.noise // 2
    return update, work.opening.prove_unchecked(work.statement(update))


@dataclass
class Member:
    """One enrolled participant."""

    identity: Identity
    tasks: dict[str, JoinedTask]
    releaser: Releaser
    ledger: Ledger
    node: int
    participant: Participant = field(init=False)

    def __post_init__(self) -> None:
        self.restart()

    @property
    def key(self) -> SigningKey:
        """Its signing key."""
        return self.identity.key

    def restart(self) -> None:
        """The agent's process ends and starts again: only the ledger stays."""
        self.participant = Participant(self.identity, self.tasks, self.ledger, self.releaser)


@dataclass
class MemoryFederation:
    """One coordinator's home under `root`, and its participants. database_url: of its own in PostgreSQL."""

    root: Path
    tamper: Tamper = untouched
    members: dict[str, Member] = field(default_factory=dict)
    requests: list[tuple[str, bytes]] = field(default_factory=list)
    database_url: str = ""

    def __post_init__(self) -> None:
        settings = CoordinatorSettings(database_url=self.database_url)
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
        policy: Policy = ANY_PLAN,
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
            task: JoinedTask(find_task(task), find_task(task).load(path), policy, max_epsilon)
            for task, path in data.items()
        }
        folder = self.root / name
        folder.mkdir()
        member = Member(identity, tasks, releaser, Ledger(folder / "ledger.db", begun=True), node)
        self.members[name] = member
        return member

    def copy(self, root: Path) -> "MemoryFederation":
        """The same federation, as it is on disk now, in another folder; each goes its own way."""
        shutil.copytree(self.root, root, dirs_exist_ok=True)
        other = MemoryFederation(root)
        for name, member in self.members.items():
            ledger = Ledger(root / name / "ledger.db")
            other.members[name] = Member(member.identity, member.tasks, member.releaser, ledger, member.node)
        return other

    def enrol_records(self, name: str, task: str, send: Send | None = None) -> int:
        """Let a participant enrol its records of a task; returns how many were new."""
        member, joined = self.members[name], self.members[name].tasks[task]
        definition = joined.task
        assert isinstance(definition, DataBoundTask)
        features, labels = definition.dataset(joined.records)
        shape = Shape(definition.columns, definition.row_bound, definition.label, definition.entries)
        records = Records(features, labels, shape, definition.record_norm)
        return enrol_records(
            Datasets(member.ledger), member.identity, task, records, send or self.sender(name)
        )

    def sender(self, name: str) -> Send:
        """Carries a participant's dataset envelope to the coordinator, and a refusal back."""

        def send(envelope: bytes) -> None:
            try:
                enrol_dataset(self.store, name, envelope)
            except VerificationError as error:
                raise InputError(str(error)) from error

        return send

    def change_key(self, name: str) -> SigningKey:
        """Replace a participant's signing key, at the coordinator and in its agent; returns the old one."""
        member, new = self.members[name], SigningKey.generate()
        old, changes = member.key, key_status(self.store, name).changes
        change_key(self.store, name, sign_new_key(self.store.deployment, name, changes + 1, old, new))
        member.identity = member.participant.identity = replace(member.identity, key=new)
        return old

    def revoke(self, name: str) -> None:
        """End a membership. The node stays, so that what it sends after that can be tested."""
        revoke(self.store, name, "it left the shop", lambda _node: None)

    def plan(self, task: str, run: str, **choices: object) -> Plan:
        """A plan from the task's recipe."""
        return build_plan(self.store, task, run, choices)

    def execute(self, plan: Plan) -> None:
        """Launch a run and drive it to its end."""
        launch(self.store, self.key, plan, lambda: 1)
        RunDriver(self.store, self.key, plan, self, coordinator_policy(self.home)).execute()

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

    def entries(self, kind: type[E]) -> list[E]:
        """The log's entries of one kind."""
        decoded = map(decode_entry, self.store.entries())
        return [entry for entry in decoded if isinstance(entry, kind)]

    def assert_passes(self) -> None:
        """The log passes an audit as it is now."""
        verdict = verify_bundle(self.bundle(), LogPolicy.of_key(self.store.deployment))
        assert verdict.passed, [check for check in verdict.checks if check.status != "pass"]

    def bundle(self) -> Path:
        """A fresh bundle of everything so far."""
        path = self.root / f"{len(list(self.root.glob('*.bundle')))}.bundle"
        export_bundle(self.store, path)
        return path
