"""Write the JSON examples of `protocols/spec/*.md` anew, from a real federation in memory.

    python -m docs.examples

An example is a fenced block that begins with ```json and the name of its class; `Signed[Commit]` is a signed
body. Three participants enrol their records and take part: one is honest, one halves its noise, one goes
silent after its commit. A second run then fails for want of a quorum, and a third one is stopped. The one
that went silent changes its key and is revoked.
"""

import re
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from deploy.demo.data.simulate import portfolio
from intertwine.client.openings import Vector
from intertwine.client.participant import ReleaseWork
from intertwine.models.recipes import recipe
from intertwine.protocols.bundle import Bundle, EarlierCheckpoint
from intertwine.protocols.dataset import DatasetContext
from intertwine.protocols.document import Document
from intertwine.protocols.encoding import encode
from intertwine.protocols.enrolment import EnrolmentAnswer, EnrolmentRequest, Invitation
from intertwine.protocols.entries import (
    Act,
    BeaconEntry,
    CommitEntry,
    KeyChange,
    Publication,
    RunResumed,
    decode_entry,
)
from intertwine.protocols.envelope import Envelope
from intertwine.protocols.errors import FederationError
from intertwine.protocols.plan import MAX_DIMENSION
from intertwine.protocols.publication import ModelRecord
from intertwine.protocols.round import (
    CommitRequest,
    Refusal,
    ReleaseRequest,
    Signed,
    StatementContext,
    kind_of,
)
from intertwine.protocols.signing import SigningKey
from intertwine.server.access import end_grants, grant
from intertwine.server.closing import end_run
from intertwine.server.enrolment import enrol, invite, withdraw
from intertwine.server.launch import launch
from intertwine.server.membership import key_status
from intertwine.server.store import now
from tests.federation import MemoryFederation

SPECIFICATION = Path(__file__).parents[1] / "protocols" / "spec"
FENCE = re.compile(r"(?<=^```json )(\S+)\n.*?(?=^```$)", re.MULTILINE | re.DOTALL)
_SIGNED_REQUESTS: dict[str, Any] = {
    "CommitRequest": Signed[CommitRequest],
    "ReleaseRequest": Signed[ReleaseRequest],
}
_WIDTH = 108


def main() -> int:
    """Replace every example."""
    with tempfile.TemporaryDirectory() as folder:
        examples = collect(Path(folder))
    for page in sorted(SPECIFICATION.glob("*.md")):
        page.write_text(FENCE.sub(lambda fence: _example(examples, fence[1]), page.read_text()))
    return 0


def collect(root: Path) -> dict[str, Document]:
    """One document of each class, by the name of its class."""
    federation = _run(root)
    _administer(federation)
    examples = _enrolment(federation)
    entries = [decode_entry(data) for data in federation.store.entries()]
    for entry in entries:
        examples.setdefault(type(entry).__name__, entry)
        if isinstance(entry, Act):
            examples.setdefault(type(entry.act).__name__, entry.act)
    commit = next(entry.commit for entry in entries if isinstance(entry, CommitEntry))
    change = next(entry.change for entry in entries if isinstance(entry, KeyChange))
    beacon = next(entry.beacon for entry in entries if isinstance(entry, BeaconEntry))
    plan = examples["PlanEntry"].plan  # type: ignore[attr-defined]
    dataset = examples["DatasetEntry"].dataset  # type: ignore[attr-defined]
    examples |= {
        "Signed[NewKey]": change,
        "KeyStatus": key_status(federation.store, change.body.participant),
        "Signed[Plan]": plan,
        "Plan": plan.body,
        "Signed[Dataset]": dataset,
        "DatasetPage": dataset.body.pages[0],
        "DatasetContext": DatasetContext.create(dataset.body, dataset.key, 0),
        "ReleaseMechanism": recipe("forecast").mechanism,
        "StatisticsMechanism": recipe("recommendation").mechanism,
        "GlmMechanism": plan.body.mechanism,
        "RoundId": commit.body.slot.round,
        "Slot": commit.body.slot,
        "Signed[Commit]": commit,
        "Signed[Release]": examples["ReleaseEntry"].release,  # type: ignore[attr-defined]
        "StatementContext": StatementContext.create(plan.body, commit, bytes.fromhex(beacon)),
        "ModelRecord": _model_record(federation, entries),
    }
    return examples | _messages(federation) | _bundle(federation)


def _run(root: Path) -> MemoryFederation:
    """Play the two runs; the second one lacks its quorum."""
    silent = {"meadow-shop"}

    def tamper(participant: str, kind: str, reply: bytes) -> bytes | None:
        return None if participant in silent and kind == "release" else reply

    federation = MemoryFederation(root, tamper)
    for seed, name in enumerate(("harbour-shop", "lantern-studio", "meadow-shop"), 1):
        path = root / f"{name}.csv"
        path.write_text(portfolio(name, 300, seed))
        options: dict[str, Any] = {"releaser": _halve_noise} if name == "lantern-studio" else {}
        if name == "meadow-shop":
            options["max_epsilon"] = 3.0
        federation.add(name, {"risk": path}, role="creator" if name == "lantern-studio" else "smb", **options)
        federation.enrol_records(name, "risk")
    federation.execute(federation.plan("risk", "spring", quorum=1, rounds=1))
    silent.clear()
    try:
        federation.execute(federation.plan("risk", "summer", quorum=3, rounds=1, sigma=5001))
    except FederationError:
        return federation
    raise RuntimeError("the second run was meant to fail")


def _administer(federation: MemoryFederation) -> None:
    """Invite in vain, let an auditor in and out, resume and stop a run, change a key, revoke a member."""
    invite(federation.home, federation.store, "hollow-shop", "retailer", ["forecast"], 3600)
    withdraw(federation.store, "hollow-shop")
    grant(federation.store, "external-auditor", "auditor", 90 * 86_400)
    end_grants(federation.store, "external-auditor")
    plan = federation.plan("risk", "autumn", quorum=1, rounds=1)
    launch(federation.store, federation.key, plan, lambda: 1)
    federation.store.record(Act(time=now(), act=RunResumed(run=plan.run)))
    end_run(federation.store, plan, "stopped", "stopped by the coordinator")
    federation.change_key("meadow-shop")
    federation.revoke("meadow-shop")


def _halve_noise(work: ReleaseWork) -> tuple[Vector, bytes]:
    update = work.total + np.round(work.noise / 2).astype(np.int64)
    return update, work.opening.prove_unchecked(work.statement(update))


def _enrolment(federation: MemoryFederation) -> dict[str, Document]:
    token = invite(federation.home, federation.store, "orchard-shop", "retailer", ["forecast"], 3600)
    invitation = Invitation.from_token(token)
    node_key = f"ecdsa-sha2-nistp384 {b'orchard'.hex():A<136}"
    request = EnrolmentRequest.create(invitation.secret, node_key, SigningKey.generate())
    answer: EnrolmentAnswer = enrol(federation.home, federation.store, request, lambda _key: 2000)
    return {"Invitation": invitation, "EnrolmentRequest": request, "EnrolmentAnswer": answer}


def _messages(federation: MemoryFederation) -> dict[str, Document]:
    """The coordinator's requests, and a participant's refusal of the last plan's cost."""
    examples: dict[str, Document] = {}
    for name, message in federation.requests:
        document = Envelope.from_bytes(message, (8 * MAX_DIMENSION,)).document
        kind = kind_of(document)
        examples.setdefault(f"Signed[{kind}]", _SIGNED_REQUESTS[kind].decode(document))
        reply = federation.members[name].participant.handle(message)
        answer = Envelope.from_bytes(reply, (4 * MAX_DIMENSION, 1 << 20)).document
        if kind_of(answer) == "Refusal":
            examples.setdefault("Signed[Refusal]", Signed[Refusal].decode(answer))
    proof = examples["Signed[ReleaseRequest]"].body.inclusion  # type: ignore[attr-defined]
    return {**examples, "InclusionProof": proof}


def _model_record(federation: MemoryFederation, entries: list[Any]) -> ModelRecord:
    view = federation.store.view()
    position = next(number for number, entry in enumerate(entries) if isinstance(entry, Publication))
    return ModelRecord(
        publication=entries[position], inclusion=view.inclusion(position), checkpoint=view.checkpoint
    )


def _bundle(federation: MemoryFederation) -> dict[str, Document]:
    """A bundle's manifest, and a checkpoint that could be in one as an earlier one."""
    before = federation.store.view()
    invite(federation.home, federation.store, "willow-shop", "retailer", ["forecast"], 3600)
    view = federation.store.view()
    proof = [node.hex() for node in view.tree.consistency(before.size, view.size)]
    earlier = EarlierCheckpoint(checkpoint=before.checkpoint, consistency=proof)
    return {"Manifest": Bundle.open(federation.bundle()).manifest, "EarlierCheckpoint": earlier}


def _example(examples: dict[str, Document], name: str) -> str:
    value = examples[name].model_dump(mode="json")
    return f"{name}\n{_pretty(value)}\n"


def _pretty(value: Any, indent: int = 0) -> str:
    """JSON with sorted keys, where what fits on a line stays on it."""
    flat = encode(value).decode()
    if not isinstance(value, dict | list) or indent + len(flat) <= _WIDTH:
        return flat
    pad = " " * (indent + 2)
    if isinstance(value, dict):
        items = [f"{pad}{encode(key).decode()}: {_pretty(value[key], indent + 2)}" for key in sorted(value)]
    else:
        items = [f"{pad}{_pretty(item, indent + 2)}" for item in value]
    opening, closing = "{}" if isinstance(value, dict) else "[]"
    return f"{opening}\n" + ",\n".join(items) + f"\n{' ' * indent}{closing}"


if __name__ == "__main__":
    sys.exit(main())
