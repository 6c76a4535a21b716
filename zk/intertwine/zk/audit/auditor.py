"""Running the numbered checks over a bundle, in their order."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path

from intertwine.protocols.aggregation import Parameters, parameters_to_bytes
from intertwine.protocols.bundle import Bundle, is_bundle, run_of
from intertwine.protocols.checkpoint import Checkpoint
from intertwine.protocols.cosignature import Cosigner, open_cosigned, read_cosigned
from intertwine.protocols.encoding import sha256
from intertwine.protocols.entries import BeaconEntry, ReleaseEntry, blobs_of, decode_entry
from intertwine.protocols.entries import run_of as run_about
from intertwine.protocols.errors import InputError, IntertwineError, VerificationError
from intertwine.protocols.merkle import Tree, leaf_hash, verify_consistency, verify_inclusion
from intertwine.protocols.policy import Policy
from intertwine.zk.audit.finding import Finding, FindingError, blaming
from intertwine.zk.audit.history import History, ReleaseRecord
from intertwine.zk.audit.lineage import Chronicle, compose, signatures
from intertwine.zk.audit.model_file import check_model_file
from intertwine.zk.audit.proofs import Claim, ProofCache, ProofChecker, page_claims, release_claim
from intertwine.zk.audit.replay import replay
from intertwine.zk.audit.report import Report
from intertwine.zk.audit.verdict import CHECKS, Check, CheckResult, Counts, Status, Verdict
from intertwine.zk.privacy import ALL_TASKS, Account, PrivacyRow
from intertwine.zk.round_proof import check_references
from intertwine.zk.training_record import Positioned

Progress = Callable[[int, int], None]

_BATCH_SIZE = 1 << 17


def verify_bundle(
    path: Path,
    policy: Policy | None = None,
    *,
    checkpoints: Sequence[str] = (),
    independent: bool = False,
    workers: int | None = None,
    cache: ProofCache | None = None,
    progress: Progress | None = None,
) -> Verdict:
    """Run all CHECKS over a bundle; reads nothing but its file, and changes nothing but the cache.

    policy: the log's public key and the witnesses to demand, from a source other than the bundle; without it
    the bundle's own key is used and the verdict says so. checkpoints: signed notes of the log that others
    hold, which must be of prefixes of the bundle's log. independent: verify every proof with the second
    verifier too. workers: processes, by default one a core. cache: proofs found valid before. progress: is
    called with (proofs done, proofs in all), pages of datasets first, then releases.
    InputError if the file is no bundle of any version; every other defect is a failed check.
    """
    if not is_bundle(path):
        raise InputError(f"{path} is not a bundle.", "Give the file that the coordinator exported.")
    with ProofChecker(independent=independent, workers=workers, cache=cache) as checker:
        return _Audit(path, policy, checkpoints, checker, progress or (lambda done, total: None)).run()


class _Audit:
    """One run over one bundle. Each step returns what it saw, in words, or raises FindingError."""

    def __init__(
        self,
        path: Path,
        policy: Policy | None,
        checkpoints: Sequence[str],
        checker: ProofChecker,
        progress: Progress,
    ) -> None:
        self._path = path
        self._given = policy
        self._others = checkpoints
        self._checker = checker
        self._progress = progress
        self._bundle: Bundle
        self._policy: Policy
        self._history: History
        self._tree = Tree()
        self._checkpoint = Checkpoint("", 0, b"")
        self._cosigners: tuple[Cosigner, ...] = ()
        self._chronicle = Chronicle()
        self._retraced_whole = False
        self._records: list[ReleaseRecord] = []
        self._scoped: list[ReleaseRecord] = []  # those whose proofs the bundle holds
        self._modes: set[str] = set()
        self._named: dict[str, int] = {}  # blobs, by digest, and the first entry in scope that names each
        self._account = Account()
        self._entries: dict[str, list[Positioned]] = {}  # of each run whose files the bundle holds
        self._logged = 0  # releases in the log, whatever became of them
        self._proven: set[int] = set()
        self._judged = False
        self._rejected = 0
        self._published: dict[str, Parameters] = {}
        self._privacy: tuple[PrivacyRow, ...] = ()

    def run(self) -> Verdict:
        """Evaluate the checks in order."""
        steps: dict[str, Callable[[], str]] = {
            "bundle_format": self._bundle_format,
            "entry_encoding": self._entry_encoding,
            "checkpoint_signature": self._checkpoint_signature,
            "cosignature_quorum": self._cosignature_quorum,
            "log_root": self._log_root,
            "log_consistency": self._log_consistency,
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
            "privacy": self._accounts,
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
        except FindingError as failed:
            index, problem = failed.finding.index, failed.finding.problem
        except IntertwineError as error:
            index, problem = None, error.problem
        return CheckResult(check.number, check.name, Status.FAILED, self._locate(index, problem), index)

    def _locate(self, index: int | None, problem: str) -> str:
        if index is None:
            return problem
        try:
            kind = f" ({decode_entry(self._bundle.entry(index)).type})"
        except IntertwineError:
            kind = ""
        return f"entry {index}{kind}: {problem}"

    def _verdict(self, checks: tuple[CheckResult, ...]) -> Verdict:
        opened = checks[0].status is Status.PASSED
        return Verdict(
            passed=all(check.status is Status.PASSED for check in checks),
            checks=checks,
            privacy=self._privacy,
            counts=Counts(
                self._bundle.manifest.entries if opened else 0,
                len(self._history.rounds) if opened else 0,
                len(self._proven),
                self._rejected,
            ),
            log_key=self._policy.log_key if opened else "",
            self_asserted=self._given is None,
            beacon_modes=tuple(sorted(self._modes)),
            runs=tuple(self._bundle.manifest.runs) if opened else (),
            report=self._report() if self._retraced_whole else None,
        )

    def _report(self) -> Report:
        """What the log tells, for filing."""
        return compose(
            self._history,
            self._chronicle,
            self._checkpoint,
            signatures(self._policy, self._given is not None, self._cosigners),
            proven=self._proven if self._judged else None,
            independent=self._checker.independent,
            checked=self._bundle.manifest.runs,
        )

    # The log as bytes: checks 1 to 6

    def _bundle_format(self) -> str:
        self._bundle = Bundle.open(self._path)
        manifest = self._bundle.manifest
        self._policy = self._given or Policy.of_key(manifest.log_key)
        self._history = History(manifest.origin, self._policy.log_key, self._tree.root, self._bundle.blob)
        return f"{manifest.entries} entries of {manifest.origin}; files of runs: {', '.join(manifest.runs)}"

    def _entry_encoding(self) -> str:
        seen: set[bytes] = set()
        for index, data in enumerate(self._bundle.entries()):
            with blaming(index):
                decode_entry(data)
            leaf = leaf_hash(data)
            if leaf in seen:
                raise FindingError(Finding(index, "the entry occurs for the second time"))
            seen.add(leaf)
            self._tree.append(leaf)
        return "all canonical, none twice"

    def _checkpoint_signature(self) -> str:
        note, key = self._bundle.checkpoint, self._policy.log_key
        self._checkpoint = open_cosigned(note, Policy.of_key(key)).checkpoint
        manifest = self._bundle.manifest
        if (self._checkpoint.origin, key) != (manifest.origin, manifest.log_key):
            raise VerificationError("checkpoint_signature", "the manifest names another log.")
        source = "only the bundle vouches for" if self._given is None else "you gave"
        return f"signed with the key {key[:16]}…, which {source}"

    def _cosignature_quorum(self) -> str:
        # Read first: the report says who has co-signed even where they are too few.
        self._cosigners = read_cosigned(self._bundle.checkpoint, self._policy).cosigners
        open_cosigned(self._bundle.checkpoint, self._policy)
        if not self._policy.witnesses:
            return "no witnesses are demanded"
        return f"co-signed by {', '.join(cosigner.nickname for cosigner in self._cosigners) or 'nobody'}"

    def _log_root(self) -> str:
        size = len(self._tree)
        if self._checkpoint.size != size:
            problem = f"the checkpoint covers {self._checkpoint.size} entries, the bundle holds {size}"
            raise FindingError(Finding(None, problem))
        if self._checkpoint.root != self._tree.root(size):
            raise FindingError(Finding(None, "the entries are not those that the checkpoint was signed over"))
        self._retrace()
        return f"root {self._checkpoint.root.hex()[:16]}…"

    def _log_consistency(self) -> str:
        manifest, size = self._bundle.manifest, len(self._tree)
        root = self._tree.root(size)
        for earlier in manifest.earlier:
            checkpoint = self._prefix(earlier.checkpoint, "the bundle")
            path = [bytes.fromhex(node) for node in earlier.consistency]
            verify_consistency(checkpoint.size, checkpoint.root, size, root, path)
        for note in self._others:
            self._prefix(note, "you")
        for proof in manifest.publications:
            path = [bytes.fromhex(node) for node in proof.path]
            if not 0 <= proof.index < size:
                raise VerificationError("log_inclusion", f"entry {proof.index} is not in the log.")
            verify_inclusion(self._tree.leaf(proof.index), proof.index, size, path, root)
        return (
            f"earlier checkpoints: {len(manifest.earlier)}, of your own: {len(self._others)}, "
            f"inclusion proofs: {len(manifest.publications)}"
        )

    def _prefix(self, note: str, holder: str) -> Checkpoint:
        """A checkpoint that somebody holds, which has to be of a prefix of this log."""
        checkpoint = open_cosigned(note, Policy.of_key(self._policy.log_key)).checkpoint
        if checkpoint.size > len(self._tree):
            problem = f"{holder} gave a checkpoint of {checkpoint.size} entries: this log is an older state"
            raise VerificationError("log_consistency", f"{problem}.")
        if checkpoint.root != self._tree.root(checkpoint.size):
            problem = f"{holder} gave a checkpoint of {checkpoint.size} entries of another history"
            raise VerificationError("log_consistency", f"{problem}: the log was forked.")
        return checkpoint

    # The log as history: checks 7 to 13

    def _retrace(self) -> None:
        """Read the log a second time, now that it is known to be the one that was signed."""
        self._entries = {run: [] for run in self._runs}
        for index, data in enumerate(self._bundle.entries()):
            if leaf_hash(data) != self._tree.leaf(index):
                raise InputError(f"{self._path} changed while it was read.", "Run the audit again.")
            entry = decode_entry(data)
            self._history.add(index, entry)
            self._chronicle.add(index, entry)
            with suppress(
                VerificationError
            ):  # of a run that was not planned, as checks 8, 12 and 17 will say
                self._account.add(index, entry)
            self._logged += isinstance(entry, ReleaseEntry)
            if isinstance(entry, BeaconEntry):
                self._modes.add(entry.mode)
            if (run := run_about(entry)) in self._entries:
                self._entries[run].append((index, entry))
            if run_of(entry) in (None, *self._runs):
                self._named.update({digest: self._named.get(digest, index) for digest in blobs_of(entry)})
        self._history.finish()
        self._records = self._history.releases()
        self._scoped = [record for record in self._records if record.plan.run in self._runs]
        self._retraced_whole = True

    @property
    def _runs(self) -> list[str]:
        """The runs whose files the bundle holds."""
        return self._bundle.manifest.runs

    def _retraced(self, check: str) -> str:
        if check in self._history.findings:
            raise FindingError(self._history.findings[check])
        return f"entries judged: {self._history.judged[check]}"

    def _datasets(self) -> str:
        detail = self._retraced("dataset")
        total, done = self._proofs_in_all(), 0
        verdicts = self._checker.check(total, self._pages())
        for record, pages in zip(self._history.datasets, verdicts, strict=True):
            if failed := next(filter(None, pages), ""):
                raise FindingError(Finding(record.index, f"check {failed} fails"))
            done += len(pages)
            self._progress(done, total)
        return f"{detail}, pages proven: {done}"

    def _pages(self) -> Iterator[list[Claim]]:
        for record in self._history.datasets:
            with blaming(record.index):
                proofs = [self._bundle.blob(page.proof) for page in record.signed.body.pages]
            yield page_claims(record.signed, record.chain, proofs)

    def _releases(self) -> str:
        detail = self._retraced("release")
        for record in self._records:
            with blaming(record.index):
                self._check_references(record)
        for record in self._scoped:
            with blaming(record.index):
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

    # What follows from updates and proofs: checks 14 to 17

    def _proofs(self) -> str:
        findings: list[Finding] = []
        total = self._proofs_in_all()
        records = self._scoped
        done = total - len(records)
        batches = list(self._batches(records))
        claims = (list(map(self._claim, batch)) for batch in batches)
        for batch, verdicts in zip(batches, self._checker.check(total, claims), strict=True):
            for record, failed in zip(batch, verdicts, strict=True):
                findings += self._judge(record, failed)
            done += len(batch)
            self._progress(done, total)
        self._judged = True
        if findings:
            raise FindingError(findings[0])
        return f"{len(self._proven)} valid, {self._rejected} rejected as recorded{self._beyond()}"

    def _beyond(self) -> str:
        """What is said of runs whose files are not here."""
        others = sorted(self._history.runs.keys() - set(self._runs))
        return f"; not in this bundle: the runs {', '.join(others)}" if others else ""

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
        return pages + len(self._scoped)

    def _batches(self, records: Sequence[ReleaseRecord]) -> Iterator[list[ReleaseRecord]]:
        """As many at a time as have some 2^17 coordinates and records together, or as the checker takes."""
        batch: list[ReleaseRecord] = []
        size = 0
        for record in records:
            batch.append(record)
            size += record.plan.dimension + (record.chain.dataset.rows if record.chain else 0)
            if size >= _BATCH_SIZE or len(batch) == self._checker.batch:
                yield batch
                batch, size = [], 0
        if batch:
            yield batch

    def _claim(self, record: ReleaseRecord) -> Claim:
        with blaming(record.index):
            return release_claim(record.answer(self._bundle.blob))

    def _aggregates(self) -> str:
        detail = self._retraced("aggregate")
        for name in self._runs:
            run = self._history.runs.get(name)
            if run is None:
                raise VerificationError("aggregate", f"the bundle names the run {name!r}, the log has none")
            if any(current.model is not None for current in run.rounds):
                self._published[name] = replay(run, self._bundle.blob)
        return detail

    def _publications(self) -> str:
        detail = self._retraced("publication")
        for name in self._runs:
            run = self._history.runs[name]
            if run.publication is None:
                continue
            with blaming(run.publication_index):
                if sha256(parameters_to_bytes(self._published[name])) != run.publication.parameters:
                    raise VerificationError("publication", "the published parameters are not the average due")
                check_model_file(
                    run.plan,
                    run.publication,
                    self._bundle.manifest.origin,
                    self._entries[name],
                    self._bundle.blob,
                )
        self._blobs()
        return detail

    def _blobs(self) -> None:
        """Every file that an entry in scope names is there and whole, and there is no other."""
        for digest, index in self._named.items():
            with blaming(index):
                self._bundle.blob(digest)
        if strangers := self._bundle.blob_digests() - self._named.keys():
            raise FindingError(Finding(None, f"no entry names blob {min(strangers)}"))

    def _accounts(self) -> str:
        beyond = [record for record in self._records if record.plan.run not in self._runs]
        taken = {record.index for record in beyond if not record.rejected_as}
        rows = self._account.rows(self._proven, taken)
        self._privacy = tuple(rows)
        counted = _counted(rows)
        if counted != self._logged:
            raise VerificationError("privacy", f"{counted} of {self._logged} releases are accounted for")
        return f"{counted} releases of {len({row.participant for row in rows})} participants{self._beyond()}"


def _counted(rows: Sequence[PrivacyRow]) -> int:
    """Releases in an account, each counted once."""
    return sum({(row.participant, row.task): row.releases for row in rows if row.task != ALL_TASKS}.values())


def _contradiction(recorded: str, found: str) -> str:
    if not recorded:
        return f"the release was accepted, but fails check {found}"
    return f"the release was rejected by check {recorded}, but " + (
        f"fails check {found}" if found else "is valid"
    )
