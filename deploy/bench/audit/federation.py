"""A federation's log, made once: many rounds of the shipped forecaster's plan, with a real proof a slot.

The work is kept round by round, so that an interrupted run goes on where it ended:

    rounds/0001.jsonl   the entries of round 1, one a line
    blobs/DIGEST        updates, proofs, parameters and the ONNX file
    bundle              the bundle, once all rounds are there
"""

import hashlib
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

from deploy.bench.audit.participant import Released, commit, release, signing_key
from intertwine.models.recipes import recipe
from intertwine.models.registry import task as find_task
from intertwine.protocols.aggregation import (
    ServerOptimizer,
    aggregate,
    aggregate_to_bytes,
    parameters_from_bytes,
    parameters_to_bytes,
    update_from_bytes,
)
from intertwine.protocols.bundle import write_bundle
from intertwine.protocols.checkpoint import Checkpoint, sign_checkpoint
from intertwine.protocols.encoding import sha256
from intertwine.protocols.entries import (
    Act,
    BeaconEntry,
    CommitEntry,
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
    decode_entry,
    run_of,
)
from intertwine.protocols.errors import InputError
from intertwine.protocols.files import read_bounded, write_atomic
from intertwine.protocols.merkle import Tree, leaf_hash
from intertwine.protocols.model_file import expected_model
from intertwine.protocols.plan import Plan
from intertwine.protocols.round import Commit, Release, RoundId, Signed, Slot, derive_beacon, model_digest
from intertwine.protocols.signing import SigningKey
from intertwine.zk.training_record import model_metadata

TASK, RUN, START = "forecast", "bench", 1_700_000_000

_MAX_ROUND_BYTES = 64 << 20

Report = Callable[[int, int], None]
"""Takes the number of proofs that are there, and of those there will be."""


def log_key() -> SigningKey:
    """The key that signs the generated logs."""
    return signing_key("log")


def make(folder: Path, rounds: int, participants: int, report: Report) -> Path:
    """The bundle of a federation of that size, from `folder` if it was made before.

    InputError if the folder holds rounds of another version of the protocol.
    """
    bundle = folder / "bundle"
    if not bundle.exists():
        for part in ("rounds", "blobs"):
            (folder / part).mkdir(parents=True, exist_ok=True)
        # A spawned process starts small; a forked one would hold all of this one's modules.
        with ProcessPoolExecutor(mp_context=get_context("spawn")) as pool:
            _Federation(folder, rounds, participants, pool).play(report).write(bundle)
    return bundle


def forecast_plan(participants: list[str], rounds: int) -> tuple[Plan, tuple[bytes, bytes]]:
    """The shipped forecaster's plan, with the initial parameters and the template that it names."""
    task = find_task(TASK)
    initial, template = parameters_to_bytes(task.initial_parameters()), task.template()
    values = {
        **recipe(TASK).choices(),
        "deployment": log_key().public,
        "run": RUN,
        "task": TASK,
        "model": model_digest(TASK, task.dimension, task.version),
        "dimension": task.dimension,
        "rounds": rounds,
        "average_last": 1,
        "participants": participants,
        "quorum": len(participants),
        "deadline_s": 60,
        "initial": sha256(initial),
        "template": sha256(template),
    }
    return Plan.model_validate(values), (initial, template)


def enrolments(names: list[str]) -> Iterator[Entry]:
    """How a log begins: its creation, and everybody's invitation and enrolment."""
    yield Act(time=START, act=LogCreated(log_key=log_key().public))
    for number, name in enumerate(names, 1):
        time = START + 2 * number - 1
        terms = {"participant": name, "role": "retailer", "tasks": [TASK]}
        invitation = {"number": number, "expires": time + 3600, **terms}
        yield Act(time=time, act=InvitationIssued.model_validate(invitation))
        keys = {"signing_key": signing_key(name).public, "node_key": sha256(name.encode())}
        yield Enrolment.model_validate({"time": time + 1, **terms, **keys})


class _Federation:
    """The coordinator: keeps the log, and has the participants' work done by a pool of processes."""

    def __init__(self, folder: Path, rounds: int, participants: int, pool: Executor) -> None:
        self._folder = folder
        self._pool = pool
        self._names = [f"participant-{number:02}" for number in range(1, participants + 1)]
        self._key = log_key()
        self._origin = f"intertwine/{self._key.public[:16]}"
        self._entries: list[bytes] = []
        self._tree = Tree()
        self._plan, parts = forecast_plan(self._names, rounds)
        for part in parts:
            self._keep(part)
        initial, self._template = parts
        self._optimizer = ServerOptimizer(self._plan, parameters_from_bytes(initial, self._plan.dimension))

    def play(self, report: Report) -> "_Federation":
        """From enrolment to publication; rounds that are there are read, not made."""
        self._enrol()
        total = self._plan.rounds * len(self._names)
        for number in range(1, self._plan.rounds + 1):
            report((number - 1) * len(self._names), total)
            self._round(number)
        report(total, total)
        self._publish()
        return self

    def write(self, bundle: Path) -> None:
        """Write the bundle."""
        named = [digest for entry in self._entries for digest in blobs_of(decode_entry(entry))]
        write_bundle(
            bundle,
            origin=self._origin,
            log_key=self._key.public,
            runs=[RUN],
            entries=self._entries,
            checkpoint=self._checkpoint(),
            blobs={digest: self._folder / "blobs" / digest for digest in named},
        )

    def _enrol(self) -> None:
        for entry in enrolments(self._names):
            self._log(entry)
        self._log(PlanEntry(time=self._now(), plan=Signed[Plan].create(self._plan, self._key)))

    def _round(self, number: int) -> None:
        """Play or read a round; it is kept once all of it is there."""
        path = self._folder / "rounds" / f"{number:04}.jsonl"
        start = len(self._entries)
        identity = self._identity(number)
        nonce = hashlib.sha256(identity.encode()).digest()
        parameters = parameters_to_bytes(self._optimizer.parameters)
        opened = RoundOpened(
            time=self._now(),
            round=identity,
            parameters=self._keep(parameters),
            nonce_digest=sha256(nonce),
            participants=self._names,
        )
        if path.exists():
            self._read(path, opened)
            return
        self._log(opened)
        commits = self._commits(identity, parameters)
        beacon = self._draw_beacon(identity, nonce)
        self._aggregate(identity, self._releases(commits, beacon, parameters))
        write_atomic(path, b"".join(entry + b"\n" for entry in self._entries[start:]))

    def _read(self, path: Path, opened: RoundOpened) -> None:
        """Take a round from its file; its model must follow from its updates, as when it was made."""
        lines = read_bounded(path, _MAX_ROUND_BYTES).splitlines()
        entries = [decode_entry(line) for line in lines]
        plans = {entry.commit.body.plan for entry in entries if isinstance(entry, CommitEntry)}
        if lines[0] != opened.encode() or plans != {self._plan.digest()}:
            raise InputError(f"{path} was made by another version.", "Remove the folder that it is in.")
        for entry in entries[:-1]:
            self._log(entry)
        bodies = [entry.release.body for entry in entries if isinstance(entry, ReleaseEntry)]
        self._aggregate(opened.round, [self._blob(body.update) for body in bodies])

    def _commits(self, identity: RoundId, parameters: bytes) -> list[bytes]:
        """Have every slot commit, and log it; returns the signed commits."""
        slots = [Slot(round=identity, participant=name) for name in self._names]
        count = len(slots)
        commits = list(self._pool.map(commit, [self._plan] * count, slots, [parameters] * count))
        for document in commits:
            self._log(CommitEntry(time=self._now(), commit=Signed[Commit].decode(document)))
        return commits

    def _draw_beacon(self, identity: RoundId, nonce: bytes) -> bytes:
        checkpoint = self._checkpoint()
        beacon = derive_beacon(identity, checkpoint, nonce)
        self._log(
            BeaconEntry(
                time=self._now(),
                round=identity,
                checkpoint=checkpoint,
                nonce=nonce.hex(),
                beacon=beacon.hex(),
            )
        )
        return beacon

    def _releases(self, commits: list[bytes], beacon: bytes, parameters: bytes) -> list[bytes]:
        """Have every slot released, and log it; returns the updates."""
        count = len(commits)
        arguments = ([self._plan] * count, commits, [beacon] * count, [parameters] * count)
        updates = []
        for released in self._pool.map(release, *arguments):
            self._accept(released)
            updates.append(released.update)
        return updates

    def _accept(self, released: Released) -> None:
        signed = Signed[Release].decode(released.document)
        self._keep(released.update)
        self._keep(released.proof)
        self._log(ReleaseEntry(time=self._now(), release=signed))
        self._log(
            Outcome(
                time=self._now(),
                slot=signed.body.slot,
                verdict="accepted",
                check="",
                verify_ms=released.verify_ms,
            )
        )

    def _aggregate(self, identity: RoundId, updates: list[bytes]) -> None:
        dimension = self._plan.dimension
        total = aggregate([update_from_bytes(update, dimension) for update in updates], dimension)
        parameters = parameters_to_bytes(self._optimizer.step(total))
        self._log(
            ModelEntry(
                time=self._now(),
                round=identity,
                accepted=self._names,
                aggregate=sha256(aggregate_to_bytes(total)),
                parameters=self._keep(parameters),
            )
        )

    def _publish(self) -> None:
        parameters = parameters_to_bytes(self._optimizer.published())
        entries = list(enumerate(map(decode_entry, self._entries)))
        run = [(position, entry) for position, entry in entries if run_of(entry) == RUN]
        metadata = model_metadata(self._origin, run, parameters)
        self._log(
            Publication(
                time=self._now(),
                round=self._identity(self._plan.rounds),
                parameters=self._keep(parameters),
                onnx=self._keep(expected_model(self._template, parameters, metadata)),
            )
        )

    def _identity(self, number: int) -> RoundId:
        return RoundId(deployment=self._key.public, run=RUN, task=TASK, number=number)

    def _checkpoint(self) -> str:
        size = len(self._tree)
        return sign_checkpoint(Checkpoint(self._origin, size, self._tree.root(size)), self._key)

    def _now(self) -> int:
        """Time passes by one second an entry."""
        return START + len(self._entries)

    def _log(self, entry: Entry) -> None:
        data = entry.encode()
        self._entries.append(data)
        self._tree.append(leaf_hash(data))

    def _keep(self, data: bytes) -> str:
        digest = sha256(data)
        path = self._folder / "blobs" / digest
        if not path.exists():
            write_atomic(path, data)
        return digest

    def _blob(self, digest: str) -> bytes:
        return read_bounded(self._folder / "blobs" / digest, _MAX_ROUND_BYTES)
