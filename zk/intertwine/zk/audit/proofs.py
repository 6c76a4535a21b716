"""Verifying many proofs: together where that is cheaper, in parallel, and each only once.

Two verifiers may be asked. The fast one is that of the coordinator; the independent one shares no code with
it and takes ten times as long. If both are asked and contradict each other, one of them has a defect, and no
verdict of either counts.
"""

import gc
import multiprocessing
import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import partial
from importlib.metadata import version
from pathlib import Path
from types import TracebackType
from typing import Self, TypeAlias

from intertwine.protocols.dataset import Dataset
from intertwine.protocols.encoding import tagged_digest
from intertwine.protocols.errors import InputError, VerificationError
from intertwine.protocols.files import make_private_directory
from intertwine.protocols.round import Signed
from intertwine.zk import independent, proof_file, reference_string
from intertwine.zk.audit.digest_file import DigestFile
from intertwine.zk.dataset_proof import Chain, page_statements
from intertwine.zk.instance import VERSION, verify_all
from intertwine.zk.proof_file import Statement
from intertwine.zk.round_proof import Answer, statement_of

PARALLEL_FROM_S = 2.0
"""Seconds of work below which no processes are started: they need about one second themselves."""

DISAGREEMENT = "verifiers_disagree"
"""Stands for a check's name where the two verifiers contradict each other."""

_NATIVE_S, _INDEPENDENT_S = 0.02, 0.4


@dataclass(frozen=True)
class Claim:
    """A proof to verify.

    digests: of all that the verdict depends on; statement: makes the statement and the proof, or raises the
    VerificationError of a check that comes before the proof's own.
    """

    digests: tuple[str, ...]
    statement: Callable[[], tuple[Statement, bytes]]


Verdicts: TypeAlias = list[str]
"""Which check each proof fails, empty for valid ones."""


@dataclass(frozen=True)
class _Job:
    """Claims under way. decided: verdicts that need no verifier; verdicts: waits for those of the others."""

    keys: list[bytes]
    decided: list[str | None]
    verdicts: Callable[[], Verdicts]


def release_claim(answer: Answer) -> Claim:
    """A release's proof."""
    named = (answer.plan, answer.commit, answer.release)
    head = answer.chain.head if answer.chain else ""
    digests = ("release", answer.beacon.hex(), head, *(document.digest() for document in named))
    return Claim(digests, lambda: (statement_of(answer), answer.proof))


def page_claims(signed: Signed[Dataset], chain: Chain, proofs: Sequence[bytes]) -> list[Claim]:
    """The proofs of the pages that a dataset's document adds; chain: after the document."""

    def claim(index: int) -> Claim:
        digests = ("page", signed.digest(), chain.head, str(index))
        return Claim(digests, lambda: page_statements(signed, chain, proofs)[index])

    return [claim(index) for index in range(len(signed.body.pages))]


class ProofCache:
    """What was found valid before, as digests in a file that only grows; made by and for one person.

    A digest covers the verifiers' version and everything that a verdict depends on.
    """

    def __init__(self, folder: Path) -> None:
        """InputError if the folder cannot be used."""
        make_private_directory(folder)
        self._digests = DigestFile(folder / "verified-proofs")

    def __contains__(self, key: bytes) -> bool:
        return key.hex() in self._digests

    def add(self, keys: Iterable[bytes]) -> None:
        """Keep digests; they are on disk when this returns."""
        self._digests.add(*(key.hex() for key in keys))


class ProofChecker(AbstractContextManager["ProofChecker"]):
    """Verifies claims, in their order; a context manager, since it may start processes.

    workers: processes, by default one a core; none are started for little work. independent: ask the second
    verifier as well.
    """

    def __init__(self, *, independent: bool, workers: int | None, cache: ProofCache | None) -> None:
        self.independent = independent
        self._verifiers = VERSION.decode(), version("intertwine"), reference_string.DIGEST, str(independent)
        self._workers = len(os.sched_getaffinity(0)) if workers is None else workers
        self._cache = cache
        self._pool: ProcessPoolExecutor | None = None

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._pool is not None:
            self._pool.shutdown(cancel_futures=True)
            self._pool = None

    def __enter__(self) -> Self:
        return self

    @property
    def batch(self) -> int:
        """How many releases to verify in one go at most."""
        return 4 if self.independent else 25

    def check(self, count: int, claims: Iterable[Sequence[Claim]]) -> Iterator[Verdicts]:
        """The verdicts on each group of claims, which are verified together.

        count: how many claims there are in all; what is held of them at a time is bounded.
        """
        seconds = count * (_NATIVE_S + (_INDEPENDENT_S if self.independent else 0))
        parallel = self._workers > 1 and seconds >= PARALLEL_FROM_S
        start, ahead = (self._in_pool, 2 * self._workers) if parallel else (self._here, 0)
        waiting: deque[_Job] = deque()
        for group in claims:
            waiting.append(self._job(group, start))
            if len(waiting) > ahead:
                yield self._finish(waiting.popleft())
        while waiting:
            yield self._finish(waiting.popleft())

    def _job(self, group: Sequence[Claim], start: "_Start") -> _Job:
        keys = [self._key(claim) for claim in group]
        decided: list[str | None] = []
        open_claims: list[tuple[Statement, bytes]] = []
        for claim, key in zip(group, keys, strict=True):
            if self._cache is not None and key in self._cache:
                decided.append("")
                continue
            try:
                open_claims.append(claim.statement())
                decided.append(None)
            except VerificationError as error:
                decided.append(error.check)
        return _Job(keys, decided, start(open_claims) if open_claims else list)

    def _finish(self, job: _Job) -> Verdicts:
        try:
            found = iter(job.verdicts())
        except BrokenProcessPool as error:
            raise InputError(
                "A process that verified proofs was ended from outside.",
                "Run the audit again; with --workers 1 if memory is short.",
            ) from error
        verdicts = [next(found) if known is None else known for known in job.decided]
        if self._cache is not None:
            self._cache.add(key for key, verdict in zip(job.keys, verdicts, strict=True) if not verdict)
        return verdicts

    def _here(self, claims: list[tuple[Statement, bytes]]) -> Callable[[], Verdicts]:
        return lambda: judge(claims, self.independent)

    def _in_pool(self, claims: list[tuple[Statement, bytes]]) -> Callable[[], Verdicts]:
        if self._pool is None:
            context = multiprocessing.get_context("spawn")  # a fork would copy locks that threads hold
            self._pool = ProcessPoolExecutor(self._workers, context, initializer=_prepare_worker)
        return self._pool.submit(judge, claims, self.independent).result

    def _key(self, claim: Claim) -> bytes:
        """Names a proof, its statement and who has verified it."""
        parts = (part.encode() for part in (*self._verifiers, *claim.digests))
        return tagged_digest("intertwine/verified-proof/1", *parts)


_Start: TypeAlias = Callable[[list[tuple[Statement, bytes]]], Callable[[], Verdicts]]


def judge(claims: Sequence[tuple[Statement, bytes]], ask_both: bool) -> Verdicts:
    """The verdict on each statement and proof; DISAGREEMENT if both verifiers were asked and contradict."""
    together = verify_all(
        [(partial(proof_file.instance_of, statement), proof) for statement, proof in claims]
    )
    fast = ["" if error is None else error.check for error in together]
    again = [_judge_again(*claim) for claim in claims] if ask_both else fast
    return [one if one == two else DISAGREEMENT for one, two in zip(fast, again, strict=True)]


def _judge_again(statement: Statement, proof: bytes) -> str:
    try:
        independent.verify_file(proof_file.encode(statement, proof))
    except VerificationError as error:
        return error.check
    return ""


def _prepare_worker() -> None:
    """Load what all proofs need; what lives as long as the process need not be looked at by its collector."""
    reference = reference_string.load()
    for part in (reference.g2, reference.g2_tau):
        del part
    gc.freeze()
