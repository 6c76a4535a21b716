"""Recorded federations: three participants, a few rounds, real keys, commitments and proofs."""

import hashlib
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from intertwine.client.openings import Opening, open_commit
from intertwine.protocols.aggregation import (
    Parameters,
    ServerOptimizer,
    aggregate,
    aggregate_to_bytes,
    parameters_from_bytes,
    parameters_to_bytes,
    update_to_bytes,
)
from intertwine.protocols.bundle import write_bundle
from intertwine.protocols.checkpoint import Checkpoint, sign_checkpoint
from intertwine.protocols.dataset import Dataset, DatasetContext, DatasetPage, content_digest
from intertwine.protocols.encoding import sha256
from intertwine.protocols.entries import (
    Act,
    BeaconEntry,
    CommitEntry,
    DatasetEntry,
    Enrolment,
    Entry,
    InvitationIssued,
    LogCreated,
    ModelEntry,
    Outcome,
    PlanEntry,
    Publication,
    ReleaseEntry,
    RoundOpened,
    blobs_of,
    run_of,
)
from intertwine.protocols.errors import VerificationError
from intertwine.protocols.mechanism import GlmMechanism, ReleaseMechanism, StatisticsMechanism
from intertwine.protocols.merkle import Tree, leaf_hash
from intertwine.protocols.model_file import expected_model, parameters_marker
from intertwine.protocols.plan import Plan
from intertwine.protocols.round import Commit, Release, RoundId, Signed, Slot, derive_beacon
from intertwine.protocols.signing import SigningKey
from intertwine.zk.audit import CHECKS, Status, Verdict
from intertwine.zk.dataset import DatasetOpening, PageStatement, Shape, commit_dataset, prove_page
from intertwine.zk.dataset_proof import Chain, verify_dataset
from intertwine.zk.privacy import Account, PrivacyRow
from intertwine.zk.round_proof import statement_for, verify_release
from intertwine.zk.training_record import model_metadata

Audit = Callable[..., Verdict]
Script = tuple[dict[str, str], ...]

DIMENSION = 3
NAMES = ("ana", "ben", "cyd")
# What each participant does in rounds 1 and 2.
SCRIPT: Script = (
    {"ana": "honest", "ben": "half-noise", "cyd": "silent"},
    {"ana": "honest", "ben": "honest", "cyd": "absent"},
)


_SIGNED_PARTS = {PlanEntry: "plan", CommitEntry: "commit", ReleaseEntry: "release", DatasetEntry: "dataset"}


def fixed_key(name: str) -> SigningKey:
    """A signing key that is the same in every run of the tests."""
    return SigningKey(Ed25519PrivateKey.from_private_bytes(hashlib.sha256(name.encode()).digest()))


@dataclass(frozen=True)
class RawEntry:
    """An entry of a recording that is nothing but bytes, canonical or not."""

    data: bytes
    type: str = "raw"

    def encode(self) -> bytes:
        return self.data


@dataclass
class Recording:
    """A log that can be tampered with, and written as a bundle with a fresh checkpoint."""

    log_key: SigningKey = field(default_factory=lambda: fixed_key("log"))
    keys: dict[str, SigningKey] = field(default_factory=lambda: {name: fixed_key(name) for name in NAMES})
    entries: list[Entry] = field(default_factory=list)
    blobs: dict[str, bytes] = field(default_factory=dict)

    @property
    def origin(self) -> str:
        return f"intertwine/{self.log_key.public[:16]}"

    def copy(self) -> "Recording":
        return Recording(self.log_key, self.keys, list(self.entries), dict(self.blobs))

    def position(self, kind: type[Entry], number: int = 0) -> int:
        """Where the entry `number` (from 0, or from -1 backwards) of this type lies."""
        return [index for index, entry in enumerate(self.entries) if isinstance(entry, kind)][number]

    def run_entries(self, run: str) -> list[tuple[int, Entry]]:
        """The entries about a run, each with its position."""
        return [(position, entry) for position, entry in enumerate(self.entries) if run_of(entry) == run]

    def edit(self, position: int, **changes: object) -> None:
        """Replace fields of an entry, or of the signed body inside it, which is then signed again."""
        entry = self.entries[position]
        part = _SIGNED_PARTS.get(type(entry))
        if part is not None:
            body = getattr(entry, part).body.model_copy(update=changes)
            changes = {part: Signed.create(body, self._author(body))}
        self.entries[position] = entry.model_copy(update=changes)

    def _author(self, body: Plan | Commit | Release | Dataset) -> SigningKey:
        if isinstance(body, Plan):
            return self.log_key
        return self.keys[body.participant if isinstance(body, Dataset) else body.slot.participant]

    def tree(self, size: int) -> Tree:
        """The tree over the first `size` entries."""
        return Tree(leaf_hash(entry.encode()) for entry in self.entries[:size])

    def checkpoint(self, size: int, key: SigningKey | None = None) -> str:
        """A signed note over the first `size` entries."""
        root = self.tree(size).root(size)
        return sign_checkpoint(Checkpoint(self.origin, size, root), key or self.log_key)

    def keep(self, data: bytes) -> str:
        self.blobs[sha256(data)] = data
        return sha256(data)

    def redraw_beacon(self, position: int, **changes: str) -> None:
        """Make the beacon entry at `position` fit the log before it, except for `changes`."""
        entry = self.entries[position]
        checkpoint = changes.get("checkpoint", self.checkpoint(position))
        nonce = changes.get("nonce", entry.nonce)
        beacon = derive_beacon(entry.round, checkpoint, bytes.fromhex(nonce)).hex()
        self.edit(position, **{"checkpoint": checkpoint, "nonce": nonce, "beacon": beacon, **changes})

    def write(
        self,
        folder: Path,
        checkpoint: str | None = None,
        *,
        strays: Sequence[str] = (),
        **manifest: Any,
    ) -> Path:
        """Write a bundle with the blobs that entries name; the checkpoint is made anew unless given.

        strays: digests of more blobs; manifest: other fields.
        """
        sources = folder / "sources"
        sources.mkdir()
        named = {digest for entry in self.entries for digest in blobs_of(entry)} & self.blobs.keys()
        named.update(strays)
        for digest in named:
            (sources / digest).write_bytes(self.blobs[digest])
        runs = sorted({entry.plan.body.run for entry in self.entries if isinstance(entry, PlanEntry)})
        fields = {
            "origin": self.origin,
            "log_key": self.log_key.public,
            "runs": runs,
            "entries": [entry.encode() for entry in self.entries],
            "checkpoint": checkpoint or self.checkpoint(len(self.entries)),
            "blobs": {digest: sources / digest for digest in named},
        }
        write_bundle(folder / "test.bundle", **(fields | manifest))
        return folder / "test.bundle"


class Federation:
    """Plays SCRIPT and records it as the coordinator would."""

    def __init__(self) -> None:
        self.record = Recording()
        self.clock = 1_700_000_000
        self.data: dict[str, DatasetOpening] = {}
        self.chains: dict[str, Chain] = {}

    def play(self) -> Recording:
        self._enrol()
        release = ReleaseMechanism(update_bound=10)
        self._run(SCRIPT, run="spring", mechanism=release, record_bound=4, sigma=50, average_last=2)
        return self.record

    def _enrol(self) -> None:
        """Create the log, then invite and enrol everybody."""
        self._log(Act, act=LogCreated(log_key=self.record.log_key.public))
        for number, name in enumerate(NAMES, 1):
            terms = {"participant": name, "role": "smb", "tasks": ["risk"]}
            self._log(Act, act=InvitationIssued(number=number, expires=self.clock + 3600, **terms))
            self._log(
                Enrolment,
                **terms,
                signing_key=self.record.keys[name].public,
                node_key=sha256(name.encode()),
            )

    def _run(self, script: Script, **fields: object) -> None:
        """One run from plan to publication."""
        initial = np.array([0.5, -0.25, 0.0])
        values = {
            "deployment": self.record.log_key.public,
            "task": "risk",
            "model": sha256(b"risk model"),
            "dimension": DIMENSION,
            "rounds": len(script),
            "record_norm": "1.0",
            "delta": "1e-5",
            "learning_rate": "0.5",
            "momentum": "0.9",
            "normaliser": "8",
            "average_last": 1,
            "participants": list(NAMES),
            "quorum": 1,
            "deadline_s": 60,
            "initial": self.record.keep(parameters_to_bytes(initial)),
            "template": self.record.keep(b"a graph around " + parameters_marker(DIMENSION) + b" and so on"),
        }
        plan = Plan(**{**values, **fields})
        self._log(PlanEntry, plan=Signed[Plan].create(plan, self.record.log_key))
        optimizer = ServerOptimizer(plan, initial)
        for number, behaviour in enumerate(script, 1):
            self._round(plan, optimizer, number, behaviour)
        self._publish(plan, parameters_to_bytes(optimizer.published()))

    def _publish(self, plan: Plan, parameters: bytes) -> None:
        metadata = model_metadata(self.record.origin, self.record.run_entries(plan.run), parameters)
        model = expected_model(self.record.blobs[plan.template], parameters, metadata)
        self._log(
            Publication,
            round=self._round_id(plan, plan.rounds),
            parameters=self.record.keep(parameters),
            onnx=self.record.keep(model),
        )

    def _round(self, plan: Plan, optimizer: ServerOptimizer, number: int, behaviour: dict[str, str]) -> None:
        identity = self._round_id(plan, number)
        parameters = self.record.keep(parameters_to_bytes(optimizer.parameters))
        nonce = hashlib.sha256(identity.encode()).digest()
        self._log(
            RoundOpened,
            round=identity,
            parameters=parameters,
            nonce_digest=sha256(nonce),
            participants=list(NAMES),
        )
        present = [name for name in NAMES if behaviour[name] != "absent"]
        openings = {name: self._opening(plan, identity, name, optimizer.parameters) for name in present}
        commits = {
            name: self._commit(plan, identity, name, parameters, opening)
            for name, opening in openings.items()
        }
        checkpoint = self.record.checkpoint(len(self.record.entries))
        beacon = derive_beacon(identity, checkpoint, nonce)
        self._log(BeaconEntry, round=identity, checkpoint=checkpoint, nonce=nonce.hex(), beacon=beacon.hex())
        accepted = {}
        for name in (name for name in present if behaviour[name] != "silent"):
            update = self._release(plan, commits[name], beacon, openings[name], behaviour[name])
            if update is not None:
                accepted[name] = update
        for name in (name for name in present if behaviour[name] == "silent"):
            self._outcome(Slot(round=identity, participant=name), "aborted", "release_missing")
        total = aggregate(accepted.values(), DIMENSION)
        self._log(
            ModelEntry,
            round=identity,
            accepted=sorted(accepted),
            aggregate=sha256(aggregate_to_bytes(total)),
            parameters=self.record.keep(parameters_to_bytes(optimizer.step(total))),
        )

    def _opening(self, plan: Plan, identity: RoundId, name: str, parameters: Parameters) -> Opening:
        seed = hashlib.sha256(Slot(round=identity, participant=name).encode()).digest()
        released = isinstance(plan.mechanism, ReleaseMechanism)
        gradient = np.array([len(name), identity.number, -2], dtype=np.int64) if released else None
        dataset = None if released else self.data[name]
        return open_commit(plan, seed, gradient=gradient, parameters=parameters, dataset=dataset)

    def _commit(
        self, plan: Plan, identity: RoundId, name: str, parameters: str, opening: Opening
    ) -> Signed[Commit]:
        commit = Commit(
            slot=Slot(round=identity, participant=name),
            plan=plan.digest(),
            parameters=parameters,
            randomness=[point.hex() for point in opening.randomness],
            gradient=[point.hex() for point in opening.gradient],
            dataset="" if isinstance(plan.mechanism, ReleaseMechanism) else self.chains[name].head,
            lot=[point.hex() for point in opening.lot],
        )
        signed = Signed[Commit].create(commit, self.record.keys[name])
        self._log(CommitEntry, commit=signed)
        return signed

    def _release(
        self, plan: Plan, commit: Signed[Commit], beacon: bytes, opening: Opening, behaviour: str
    ) -> np.ndarray | None:
        """Release, verify, log the outcome; the update if it was accepted."""
        slot, chain = commit.body.slot, self.chains.get(commit.body.slot.participant)
        start = self.record.blobs[commit.body.parameters]
        noise = opening.noise(beacon, slot.identifier())
        honest = behaviour == "honest"
        update = opening.total(beacon, slot.identifier()) + (noise if honest else noise // 2)
        parameters = parameters_from_bytes(start, plan.dimension)
        statement = statement_for(plan, commit, beacon, update, parameters, chain)
        proof = (opening.prove if honest else opening.prove_unchecked)(statement)
        signed = Signed[Release].create(
            Release(
                slot=slot,
                commit=commit.digest(),
                beacon=beacon.hex(),
                update=self.record.keep(update_to_bytes(update)),
                proof=self.record.keep(proof),
            ),
            self.record.keys[slot.participant],
        )
        self._log(ReleaseEntry, release=signed)
        try:
            verify_release(plan, commit, beacon, signed, update_to_bytes(update), proof, start, chain)
        except VerificationError as error:
            self._outcome(slot, "rejected", error.check)
            return None
        self._outcome(slot, "accepted", "")
        return update

    def _outcome(self, slot: Slot, verdict: str, check: str) -> None:
        self._log(Outcome, slot=slot, verdict=verdict, check=check, verify_ms=30)

    def _log(self, kind: Callable[..., Entry], **fields: object) -> None:
        self.clock += 1
        self.record.entries.append(kind(time=self.clock, **fields))

    def _round_id(self, plan: Plan, number: int) -> RoundId:
        return RoundId(deployment=plan.deployment, run=plan.run, task=plan.task, number=number)


class DataBoundFederation(Federation):
    """ana and ben enrol records and train a glm on them; ana adds some; then all are summed."""

    def play(self) -> Recording:
        self._enrol()
        self._enrol_records("ana", 6)
        self._enrol_records("ben", 5)
        training = GlmMechanism(
            link="logistic",
            label="binary",
            entries="integer",
            row_bound=30,
            residual_bound=20,
            lot=1024,
            label_unit="1",
            residual_norm="1",
        )
        script = ({"ana": "honest", "ben": "half-noise", "cyd": "absent"},)
        self._run(script, run="steps", mechanism=training, record_bound=600, sigma=400)
        self._enrol_records("ana", 2)
        summing = StatisticsMechanism(
            moment="sum", weights="label", label="binary", entries="integer", row_bound=30
        )
        script = ({"ana": "honest", "ben": "honest", "cyd": "absent"},)
        self._run(script, run="sums", mechanism=summing, record_bound=30, sigma=50)
        return self.record

    def _enrol_records(self, name: str, count: int) -> None:
        """Start a chain, or add to it."""
        chain = self.chains.get(name)
        seed = hashlib.sha256(f"{name} {len(self.record.entries)}".encode()).digest()
        random = np.random.default_rng(list(seed))
        features, labels = random.integers(-15, 16, (count, DIMENSION)), random.integers(0, 2, count)
        opening = commit_dataset(features, labels, Shape(DIMENSION, 30, "binary"), seed)
        commitments = [b"".join(page.commitments) for page in opening.dataset.pages]
        unproven = Dataset(
            deployment=self.record.log_key.public,
            participant=name,
            task="risk",
            sequence=chain.sequence + 1 if chain else 1,
            previous=chain.head if chain else "",
            columns=DIMENSION,
            row_bound=30,
            label="binary",
            entries="integer",
            content=content_digest(self.record.log_key.public, features, labels),
            pages=[DatasetPage(rows=count, commitments=self.record.keep(commitments[0]), proof="00" * 32)],
        )
        context = DatasetContext.create(unproven, self.record.keys[name].public, 0)
        statement = PageStatement(context.encode(), opening.shape, opening.dataset.pages[0])
        proof = self.record.keep(prove_page(statement, opening, 0))
        pages = [unproven.pages[0].model_copy(update={"proof": proof})]
        signed = Signed[Dataset].create(unproven.model_copy(update={"pages": pages}), self.record.keys[name])
        self.chains[name] = verify_dataset(
            signed, self.record.keys[name].public, commitments, [self.record.blobs[proof]], chain
        )
        parts = [self.data[name], opening] if chain else [opening]
        self.data[name] = DatasetOpening.concatenate(parts)
        self._log(DatasetEntry, dataset=signed)


def assert_fails(verdict: Verdict, name: str, entry: int | None = None, words: str = "") -> None:
    """The first check to fail is `name`, at `entry`; nothing that needs it has passed."""
    failed = [check for check in verdict.checks if check.status is Status.FAILED]
    assert not verdict.passed
    assert failed
    assert failed[0].name == name, failed
    assert failed[0].entry == entry
    assert words in failed[0].detail, failed[0].detail
    if entry is not None:
        assert failed[0].detail.startswith(f"entry {entry} (")
    passed = {check.name for check in verdict.checks if check.status is Status.PASSED}
    assert all(check.needs in passed for check in CHECKS if check.name in passed and check.needs)


def account(entries: Sequence[Entry], proven: Collection[int]) -> list[PrivacyRow]:
    """The figures of a log with these entries."""
    everything = Account()
    for position, entry in enumerate(entries):
        everything.add(position, entry)
    return everything.rows(proven)
