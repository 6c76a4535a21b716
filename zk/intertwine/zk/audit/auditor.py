"""Running the numbered checks over a bundle, in their order."""

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from intertwine.protocols.aggregation import (
    Parameters,
    ServerOptimizer,
    aggregate,
    aggregate_to_bytes,
    parameters_from_bytes,
    parameters_to_bytes,
    update_from_bytes,
)
from intertwine.protocols.bundle import Bundle
from intertwine.protocols.checkpoint import Checkpoint, open_checkpoint
from intertwine.protocols.encoding import sha256
from intertwine.protocols.entries import BeaconEntry, Entry, ReleaseEntry, blobs_of, decode_entry
from intertwine.protocols.errors import InputError, IntertwineError, VerificationError
from intertwine.protocols.merkle import Tree, leaf_hash
from intertwine.zk.audit.history import Finding, History, ReleaseRecord, RoundHistory, RunHistory
from intertwine.zk.audit.verdict import CHECKS, Check, CheckResult, Counts, Status, Verdict
from intertwine.zk.dataset_proof import verify_pages
from intertwine.zk.privacy import ALL_TASKS, PrivacyRow, account
from intertwine.zk.round_proof import Answer, check_references, verify_releases

Progress = Callable[[int, int], None]

_BATCH_SIZE = 1 << 17


def verify_bundle(path: Path, log_key: str | None = None, progress: Progress | None = None) -> Verdict:
    """Run all CHECKS over a bundle; reads nothing but its files.

    log_key: the log's public key, 64 hexadecimal digits, from a source other than the bundle; without it the
    bundle's own is used and the verdict says so. progress: called with (proofs done, proofs in all), pages of
    datasets first, then releases.
    InputError if `path` holds no manifest at all or the key is not one; every other defect is a failed check.
    """
    if log_key is not None and not re.fullmatch("[0-9a-f]{64}", log_key):
        raise InputError("The log's key is not 64 lower-case hexadecimal digits.", "Copy it again, whole.")
    try:
        found = (path / "manifest.json").exists()
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}.", "Check its permissions.") from error
    if not found:
        raise InputError(f"{path} is not a bundle: it has no manifest.json.", "Give the folder of a bundle.")
    return _Audit(path, log_key, progress or (lambda done, total: None)).run()


class _CheckError(Exception):
    """A check said no."""

    def __init__(self, finding: Finding) -> None:
        self.finding = finding


class _Audit:
    """One run over one bundle. Each step returns what it saw, in words, or raises _CheckError."""

    def __init__(self, path: Path, log_key: str | None, progress: Progress) -> None:
        self._path = path
        self._log_key = log_key
        self._progress = progress
        self._bundle: Bundle
        self._history: History
        self._entries: list[Entry] = []
        self._checkpoint = Checkpoint("", 0, b"")
        self._proven: set[int] = set()
        self._rejected = 0
        self._published: dict[str, Parameters] = {}
        self._privacy: tuple[PrivacyRow, ...] = ()

    def run(self) -> Verdict:
        """Evaluate the checks in order."""
        steps: dict[str, Callable[[], str]] = {
            "bundle_format": self._bundle_format,
            "entry_encoding": self._entry_encoding,
            "checkpoint_signature": self._checkpoint_signature,
            "log_root": self._log_root,
            "enrolment": lambda: self._retraced("enrolment"),
            "plan": lambda: self._retraced("plan"),
            "dataset": self._datasets,
            "commit": lambda: self._retraced("commit"),
            "beacon": lambda: self._retraced("beacon"),
            "release": self._releases,
            "outcome": lambda: self._retraced("outcome"),
            "proof": self._proofs,
            "aggregate": self._aggregates,
            "publication": self._publications,
            "privacy": self._account,
        }
        results: dict[str, CheckResult] = {}
        for check in CHECKS:
            results[check.name] = self._evaluate(check, steps[check.name], results)
        return self._verdict(tuple(results.values()))

    def _evaluate(self, check: Check, step: Callable[[], str], before: dict[str, CheckResult]) -> CheckResult:
        if check.needs is not None and before[check.needs].status is not Status.PASSED:
            return CheckResult(check.number, check.name, Status.NOT_REACHED, f"needs check {check.needs}")
        try:
            return CheckResult(check.number, check.name, Status.PASSED, step())
        except _CheckError as failed:
            index, problem = failed.finding.index, failed.finding.problem
        except IntertwineError as error:
            index, problem = None, error.problem
        return CheckResult(check.number, check.name, Status.FAILED, self._locate(index, problem), index)

    def _locate(self, index: int | None, problem: str) -> str:
        if index is None:
            return problem
        kind = f" ({self._entries[index].type})" if index < len(self._entries) else ""
        return f"entry {index}{kind}: {problem}"

    def _verdict(self, checks: tuple[CheckResult, ...]) -> Verdict:
        opened = checks[0].status is Status.PASSED
        return Verdict(
            passed=all(check.status is Status.PASSED for check in checks),
            checks=checks,
            privacy=self._privacy,
            counts=Counts(
                len(self._bundle.entries) if opened else 0,
                len(self._history.rounds) if opened else 0,
                len(self._proven),
                self._rejected,
            ),
            log_key=self._key if opened else self._log_key or "",
            self_asserted=self._log_key is None,
            beacon_modes=tuple(
                sorted({entry.mode for entry in self._entries if isinstance(entry, BeaconEntry)})
            ),
        )

    # The log as bytes: checks 1 to 4

    def _bundle_format(self) -> str:
        self._bundle = Bundle.open(self._path)
        self._key = self._log_key or self._bundle.manifest.log_key
        self._tree = Tree(leaf_hash(data) for data in self._bundle.entries)
        self._history = History(self._bundle.manifest.origin, self._key, self._tree.root, self._bundle.blob)
        return f"{len(self._bundle.entries)} entries of {self._bundle.manifest.origin}"

    def _entry_encoding(self) -> str:
        seen: set[bytes] = set()
        for index, data in enumerate(self._bundle.entries):
            with _blaming(index):
                self._entries.append(decode_entry(data))
            if data in seen:
                raise _CheckError(Finding(index, "the entry occurs for the second time"))
            seen.add(data)
        return "all canonical, none twice"

    def _checkpoint_signature(self) -> str:
        self._checkpoint = open_checkpoint(self._bundle.checkpoint, self._bundle.manifest.origin, self._key)
        source = "only the bundle vouches for" if self._log_key is None else "you gave"
        return f"signed with the key {self._key[:16]}…, which {source}"

    def _log_root(self) -> str:
        size = len(self._tree)
        if self._checkpoint.size != size:
            problem = f"the checkpoint covers {self._checkpoint.size} entries, the bundle holds {size}"
            raise _CheckError(Finding(None, problem))
        if self._checkpoint.root != self._tree.root(size):
            raise _CheckError(Finding(None, "the entries are not those that the checkpoint was signed over"))
        self._retrace()
        return f"root {self._checkpoint.root.hex()[:16]}…"

    # The log as history: checks 5 to 11

    def _retrace(self) -> None:
        for index, entry in enumerate(self._entries):
            self._history.add(index, entry)
        self._history.finish()

    def _retraced(self, check: str) -> str:
        if check in self._history.findings:
            raise _CheckError(self._history.findings[check])
        return f"entries judged: {self._history.judged[check]}"

    def _datasets(self) -> str:
        detail = self._retraced("dataset")
        total, done = self._proofs_in_all(), 0
        for record in self._history.datasets:
            with _blaming(record.index):
                proofs = [self._bundle.blob(page.proof) for page in record.signed.body.pages]
                verify_pages(record.signed, record.chain, proofs)
            done += len(proofs)
            self._progress(done, total)
        return f"{detail}, pages proven: {done}"

    def _releases(self) -> str:
        detail = self._retraced("release")
        for record in self._history.releases():
            with _blaming(record.index):
                self._check_references(record)
                self._bundle.blob(record.release.body.update)
                self._bundle.blob(record.release.body.proof)
        return detail

    def _check_references(self, record: ReleaseRecord) -> None:
        """A release for another commit or beacon is the participant's fault, if it was rejected as such."""
        try:
            check_references(record.commit, record.beacon, record.release)
        except VerificationError as error:
            if error.check != record.rejected_as:
                raise

    # What follows from updates and proofs: checks 12 to 15

    def _proofs(self) -> str:
        findings = []
        total = self._proofs_in_all()
        done = total - len(self._history.releases())
        for batch in self._batches():
            errors = verify_releases([self._answer(record) for record in batch])
            for record, error in zip(batch, errors, strict=True):
                findings += self._judge(record, "" if error is None else error.check)
            done += len(batch)
            self._progress(done, total)
        if findings:
            raise _CheckError(findings[0])
        return f"{len(self._proven)} valid, {self._rejected} rejected as recorded"

    def _judge(self, record: ReleaseRecord, failed_check: str) -> list[Finding]:
        """Count a release, and compare the check that it fails, if any, with the one that is recorded."""
        if not failed_check:
            self._proven.add(record.index)
        if failed_check != record.rejected_as:
            return [Finding(record.index, _contradiction(record.rejected_as, failed_check))]
        self._rejected += bool(failed_check)
        return []

    def _proofs_in_all(self) -> int:
        pages = sum(len(record.signed.body.pages) for record in self._history.datasets)
        return pages + len(self._history.releases())

    def _batches(self) -> Iterator[list[ReleaseRecord]]:
        """The releases, as many at a time as have some 2^17 coordinates and records together."""
        batch: list[ReleaseRecord] = []
        size = 0
        for record in self._history.releases():
            batch.append(record)
            size += record.plan.dimension + (record.chain.dataset.rows if record.chain else 0)
            if size >= _BATCH_SIZE:
                yield batch
                batch, size = [], 0
        if batch:
            yield batch

    def _answer(self, record: ReleaseRecord) -> Answer:
        body = record.release.body
        with _blaming(record.index):
            update, proof, parameters = map(
                self._bundle.blob, (body.update, body.proof, record.commit.body.parameters)
            )
        return Answer(
            record.plan,
            record.commit,
            record.beacon,
            record.release,
            update,
            proof,
            parameters,
            record.chain,
        )

    def _aggregates(self) -> str:
        detail = self._retraced("aggregate")
        for run in self._history.runs.values():
            if any(current.model is not None for current in run.rounds):
                self._replay(run)
        return detail

    @np.errstate(all="ignore")  # a plan may ask for steps that overflow; then the digests of that count
    def _replay(self, run: RunHistory) -> None:
        """Recompute every model of a run from its plan's initial parameters and the accepted updates."""
        with _blaming(run.index):
            initial = parameters_from_bytes(self._bundle.blob(run.plan.initial), run.plan.dimension)
            optimizer = ServerOptimizer(run.plan, initial)
        for current in run.rounds:
            if current.model is None:
                continue
            with _blaming(current.model_index):
                total = aggregate(self._updates(current), run.plan.dimension)
                if sha256(aggregate_to_bytes(total)) != current.model.aggregate:
                    raise VerificationError(
                        "aggregate", "the aggregate is not the sum of the accepted updates"
                    )
                if sha256(parameters_to_bytes(optimizer.step(total))) != current.model.parameters:
                    raise VerificationError("aggregate", "the parameters do not follow from the aggregate")
        self._published[run.plan.run] = optimizer.published()

    def _updates(self, current: RoundHistory) -> Iterator[NDArray[np.int64]]:
        for name in current.accepted():
            release = current.slots[name].release
            if release is not None:
                yield update_from_bytes(self._bundle.blob(release.body.update), current.plan.dimension)

    def _publications(self) -> str:
        detail = self._retraced("publication")
        for name, run in self._history.runs.items():
            if run.publication is None:
                continue
            with _blaming(run.publication_index):
                if sha256(parameters_to_bytes(self._published[name])) != run.publication.parameters:
                    raise VerificationError("publication", "the published parameters are not the average due")
        self._blobs()
        return detail

    def _blobs(self) -> None:
        """Every file that an entry names is there and whole, and there is no other."""
        named = {digest: index for index, entry in enumerate(self._entries) for digest in blobs_of(entry)}
        for digest, index in named.items():
            with _blaming(index):
                self._bundle.blob(digest)
        if strangers := self._bundle.blob_names() - named.keys():
            raise _CheckError(Finding(None, f"no entry names blob {min(strangers)}"))

    def _account(self) -> str:
        rows = account(self._entries, self._proven)
        self._privacy = tuple(rows)
        logged = sum(isinstance(entry, ReleaseEntry) for entry in self._entries)
        counted = {(row.participant, row.task): row.releases for row in rows if row.task != ALL_TASKS}
        if sum(counted.values()) != logged:
            raise VerificationError(
                "privacy", f"{sum(counted.values())} of {logged} releases are accounted for"
            )
        return f"{logged} releases of {len({row.participant for row in rows})} participants"


def _contradiction(recorded: str, found: str) -> str:
    if not recorded:
        return f"the release was accepted, but fails check {found}"
    return f"the release was rejected by check {recorded}, but " + (
        f"fails check {found}" if found else "is valid"
    )


@contextmanager
def _blaming(index: int) -> Iterator[None]:
    """Lay any error of the block at the door of entry `index`."""
    try:
        yield
    except IntertwineError as error:
        raise _CheckError(Finding(index, error.problem)) from error
