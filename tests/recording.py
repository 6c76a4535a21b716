"""A recorded federation: three participants, two rounds, real keys, commitments and proofs."""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from intertwine.protocols.aggregation import (
    ServerOptimizer,
    aggregate,
    aggregate_to_bytes,
    parameters_from_bytes,
    parameters_to_bytes,
    update_to_bytes,
)
from intertwine.protocols.bundle import Manifest, write_bundle
from intertwine.protocols.checkpoint import Checkpoint, sign_checkpoint
from intertwine.protocols.encoding import sha256
from intertwine.protocols.entries import (
    BeaconEntry,
    CommitEntry,
    Enrolment,
    Entry,
    ModelEntry,
    Outcome,
    PlanEntry,
    Publication,
    ReleaseEntry,
    RoundOpened,
    blobs_of,
)
from intertwine.protocols.errors import VerificationError
from intertwine.protocols.mechanism import ReleaseMechanism
from intertwine.protocols.merkle import leaf_hash, root_hash
from intertwine.protocols.plan import Plan
from intertwine.protocols.round import Commit, Release, RoundId, Signed, Slot, derive_beacon
from intertwine.protocols.signing import SigningKey
from intertwine.zk import release
from intertwine.zk.audit import CHECKS, Status, Verdict
from intertwine.zk.round_proof import statement_for, verify_release

Audit = Callable[..., Verdict]

DIMENSION = 3
NAMES = ("ana", "ben", "cyd")
# What each participant does in rounds 1 and 2.
SCRIPT = (
    {"ana": "honest", "ben": "half-noise", "cyd": "silent"},
    {"ana": "honest", "ben": "honest", "cyd": "absent"},
)


def fixed_key(name: str) -> SigningKey:
    """A signing key that is the same in every run of the tests."""
    return SigningKey(Ed25519PrivateKey.from_private_bytes(hashlib.sha256(name.encode()).digest()))


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

    def edit(self, position: int, **changes: object) -> None:
        """Replace fields of an entry, or of the signed body inside it, which is then signed again."""
        entry = self.entries[position]
        part = {PlanEntry: "plan", CommitEntry: "commit", ReleaseEntry: "release"}.get(type(entry))
        if part is not None:
            signed = getattr(entry, part)
            body = signed.body.model_copy(update=changes)
            signer = self.log_key if part == "plan" else self.keys[body.slot.participant]
            changes = {part: Signed.create(body, signer)}
        self.entries[position] = entry.model_copy(update=changes)

    def checkpoint(self, size: int, key: SigningKey | None = None) -> str:
        """A signed note over the first `size` entries."""
        root = root_hash([leaf_hash(entry.encode()) for entry in self.entries[:size]])
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

    def write(self, folder: Path, checkpoint: str | None = None) -> Path:
        """Write the bundle `folder`/bundle with the blobs that entries name; the checkpoint is made anew."""
        sources = folder / "sources"
        sources.mkdir()
        named = {digest for entry in self.entries for digest in blobs_of(entry)} & self.blobs.keys()
        for digest in named:
            (sources / digest).write_bytes(self.blobs[digest])
        write_bundle(
            folder / "bundle",
            Manifest(origin=self.origin, log_key=self.log_key.public, size=len(self.entries)),
            [entry.encode() for entry in self.entries],
            checkpoint or self.checkpoint(len(self.entries)),
            {digest: sources / digest for digest in named},
        )
        return folder / "bundle"


class Federation:
    """Plays SCRIPT and records it as the coordinator would."""

    def __init__(self) -> None:
        self.record = Recording()
        self.clock = 1_700_000_000

    def play(self) -> Recording:
        for name in NAMES:
            self._log(
                Enrolment,
                participant=name,
                role="smb",
                tasks=["risk"],
                signing_key=self.record.keys[name].public,
                node_key=sha256(name.encode()),
            )
        initial = np.array([0.5, -0.25, 0.0])
        plan = Plan(
            deployment=self.record.log_key.public,
            run="spring",
            task="risk",
            model=sha256(b"risk model"),
            dimension=DIMENSION,
            rounds=len(SCRIPT),
            sigma=50,
            record_norm="1.0",
            record_bound=4,
            mechanism=ReleaseMechanism(update_bound=10),
            delta="1e-5",
            learning_rate="0.5",
            momentum="0.9",
            normaliser="8",
            average_last=2,
            participants=list(NAMES),
            quorum=1,
            deadline_s=60,
            initial=self.record.keep(parameters_to_bytes(initial)),
        )
        self._log(PlanEntry, plan=Signed[Plan].create(plan, self.record.log_key))
        optimizer = ServerOptimizer(plan, initial)
        for number, behaviour in enumerate(SCRIPT, 1):
            self._round(plan, optimizer, number, behaviour)
        self._log(
            Publication,
            round=self._round_id(plan, len(SCRIPT)),
            parameters=self.record.keep(parameters_to_bytes(optimizer.published())),
            onnx=self.record.keep(b"an ONNX file"),
        )
        return self.record

    def _round(self, plan: Plan, optimizer: ServerOptimizer, number: int, behaviour: dict[str, str]) -> None:
        identity = self._round_id(plan, number)
        parameters = self.record.keep(parameters_to_bytes(optimizer.parameters))
        nonce = hashlib.sha256(b"nonce %d" % number).digest()
        self._log(
            RoundOpened,
            round=identity,
            parameters=parameters,
            nonce_digest=sha256(nonce),
            participants=list(NAMES),
        )
        openings, commits = {}, {}
        for name in (name for name in NAMES if behaviour[name] != "absent"):
            slot = Slot(round=identity, participant=name)
            seed = hashlib.sha256(slot.encode()).digest()
            openings[name] = release.commit(
                np.array([len(name), number, -2], dtype=np.int64), plan.sigma, seed
            )
            points = openings[name].commitments
            commit = Commit(
                slot=slot,
                plan=plan.digest(),
                parameters=parameters,
                randomness=[point.hex() for point in points.randomness],
                gradient=[point.hex() for point in points.gradient],
                dataset="",
                lot=[],
            )
            commits[name] = Signed[Commit].create(commit, self.record.keys[name])
            self._log(CommitEntry, commit=commits[name])
        checkpoint = self.record.checkpoint(len(self.record.entries))
        beacon = derive_beacon(identity, checkpoint, nonce)
        self._log(BeaconEntry, round=identity, checkpoint=checkpoint, nonce=nonce.hex(), beacon=beacon.hex())
        start, accepted = self.record.blobs[parameters], {}
        for name, opening in openings.items():
            if behaviour[name] != "silent":
                update = self._release(plan, commits[name], beacon, opening, start, behaviour[name])
                if update is not None:
                    accepted[name] = update
        for name in (name for name in openings if behaviour[name] == "silent"):
            self._outcome(Slot(round=identity, participant=name), "aborted", "release_missing")
        total = aggregate(accepted.values(), DIMENSION)
        self._log(
            ModelEntry,
            round=identity,
            accepted=sorted(accepted),
            aggregate=sha256(aggregate_to_bytes(total)),
            parameters=self.record.keep(parameters_to_bytes(optimizer.step(total))),
        )

    def _release(
        self,
        plan: Plan,
        commit: Signed[Commit],
        beacon: bytes,
        opening: release.Opening,
        start: bytes,
        behaviour: str,
    ) -> np.ndarray | None:
        """Release, verify, log the outcome; the update if it was accepted."""
        slot = commit.body.slot
        noise = release.noise(opening, beacon, slot.identifier())
        honest = behaviour == "honest"
        update = opening.gradient + (noise if honest else noise // 2)
        statement = statement_for(plan, commit, beacon, update, parameters_from_bytes(start, DIMENSION), None)
        proof = (release.prove if honest else release.prove_unchecked)(statement, opening)
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
            verify_release(plan, commit, beacon, signed, update_to_bytes(update), proof, start, None)
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


def assert_fails(verdict: Verdict, name: str, entry: int | None = None, words: str = "") -> None:
    """The first check to fail is `name`, at `entry`; nothing that needs it has passed."""
    failed = [check for check in verdict.checks if check.status is Status.FAILED]
    assert not verdict.passed
    assert failed
    assert failed[0].name == name, failed
    assert failed[0].entry == entry
    assert words in failed[0].detail
    if entry is not None:
        assert failed[0].detail.startswith(f"entry {entry} (")
    passed = {check.name for check in verdict.checks if check.status is Status.PASSED}
    assert all(check.needs in passed for check in CHECKS if check.name in passed and check.needs)
