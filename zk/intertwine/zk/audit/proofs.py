"""Verifying many proofs: together where that is cheaper, in parallel, and each only once.

Two verifiers may be asked. The fast one is that of the coordinator; the independent one shares no code with
it and takes ten times as long. If both are asked and contradict each other, one of them has a defect, and no
verdict of either counts.
"""

import gc
import multiprocessing
import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import partial
from importlib.metadata import version
from pathlib import Path
from types import TracebackType
from typing import Self, TypeAlias

from intertwine.protocols.dataset import Dataset, DatasetContext
from intertwine.protocols.encoding import tagged_digest
from intertwine.protocols.errors import InputError, VerificationError
from intertwine.protocols.files import make_private_directory, read_bounded, unwritable
from intertwine.protocols.round import Signed
from intertwine.zk import independent, proof_file, reference_string
from intertwine.zk.dataset import PageStatement
from intertwine.zk.dataset_proof import Chain, verify_pages
from intertwine.zk.instance import VERSION
from intertwine.zk.round_proof import Answer, statement_of, verify_releases

PARALLEL_FROM_S = 2.0
"""Seconds of work below which no processes are started: they need about one second themselves."""

DISAGREEMENT = "verifiers_disagree"
"""Stands for a check's name where the two verifiers contradict each other."""

_NATIVE_S, _INDEPENDENT_S = 0.02, 0.4
_MAX_CACHE_BYTES = 64 << 20
_LINE = 65


@dataclass(frozen=True)
class Pages:
    """A dataset's document, the chain after it, and the proofs of the pages that it adds."""

    signed: Signed[Dataset]
    chain: Chain
    proofs: tuple[bytes, ...]


Claims: TypeAlias = tuple[Answer, ...] | Pages
"""What is verified in one go."""

_Start: TypeAlias = Callable[[Claims], Callable[[], list[str]]]


@dataclass(frozen=True)
class _Job:
    """Proofs under way. known: which of them the cache vouches for; verdicts: waits for the others'."""

    keys: list[bytes]
    known: list[bool]
    verdicts: Callable[[], list[str]]


class ProofCache:
    """What was found valid before, as digests in a file that only grows; made by and for one person.

    A digest covers the verifiers' version and everything that a verdict depends on.
    """

    def __init__(self, folder: Path) -> None:
        """InputError if the folder cannot be used."""
        make_private_directory(folder)
        self._path = folder / "verified-proofs"
        held = read_bounded(self._path, _MAX_CACHE_BYTES) if self._path.exists() else b""
        whole = held[: len(held) - len(held) % _LINE]
        self._known = {whole[start : start + _LINE - 1] for start in range(0, len(whole), _LINE)}
        if whole != held:
            self._write("wb", whole)

    def __contains__(self, key: bytes) -> bool:
        return key.hex().encode() in self._known

    def add(self, keys: Iterable[bytes]) -> None:
        """Keep digests; they are on disk when this returns."""
        new = [key.hex().encode() for key in keys if key not in self]
        self._known.update(new)
        if new:
            self._write("ab", b"".join(line + b"\n" for line in new))

    def _write(self, mode: str, data: bytes) -> None:
        def private(path: str, flags: int) -> int:
            return os.open(path, flags, 0o600)

        try:
            with open(self._path, mode, opener=private) as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            raise unwritable(self._path, error) from error


class ProofChecker(AbstractContextManager["ProofChecker"]):
    """Verifies claims, in their order; a context manager, since it may start processes.

    workers: processes, by default one a core; none are started for little work. independent: ask the second
    verifier as well.
    """

    def __init__(self, *, independent: bool, workers: int | None, cache: ProofCache | None) -> None:
        self.independent = independent
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
        return 4 if self.independent else 64

    def check(self, count: int, claims: Iterable[Claims]) -> Iterator[list[str]]:
        """For each claims: which check every proof of it fails, empty for valid ones.

        count: how many proofs there are in all; what is held of `claims` at a time is bounded.
        """
        seconds = count * (_NATIVE_S + (_INDEPENDENT_S if self.independent else 0))
        parallel = self._workers > 1 and seconds >= PARALLEL_FROM_S
        start, ahead = (self._in_pool, 2 * self._workers) if parallel else (self._here, 0)
        waiting: deque[_Job] = deque()
        for some in claims:
            waiting.append(self._job(some, start))
            if len(waiting) > ahead:
                yield self._finish(waiting.popleft())
        while waiting:
            yield self._finish(waiting.popleft())

    def _job(self, claims: Claims, start: "_Start") -> "_Job":
        keys = self._keys(claims)
        known = [self._cache is not None and key in self._cache for key in keys]
        unknown: Claims = claims
        if not isinstance(claims, Pages):
            unknown = tuple(answer for answer, is_known in zip(claims, known, strict=True) if not is_known)
        return _Job(keys, known, list if all(known) else start(unknown))

    def _finish(self, job: "_Job") -> list[str]:
        try:
            found = iter(job.verdicts())
        except BrokenProcessPool as error:
            raise InputError(
                "A process that verified proofs was ended from outside.",
                "Run the audit again; with --workers 1 if memory is short.",
            ) from error
        verdicts = ["" if is_known else next(found) for is_known in job.known]
        if self._cache is not None:
            self._cache.add(key for key, verdict in zip(job.keys, verdicts, strict=True) if not verdict)
        return verdicts

    def _here(self, claims: Claims) -> Callable[[], list[str]]:
        return lambda: judge(claims, self.independent)

    def _in_pool(self, claims: Claims) -> Callable[[], list[str]]:
        if self._pool is None:
            context = multiprocessing.get_context("spawn")  # a fork would copy locks that threads hold
            self._pool = ProcessPoolExecutor(self._workers, context, initializer=_prepare_worker)
        return self._pool.submit(judge, claims, self.independent).result

    def _keys(self, claims: Claims) -> list[bytes]:
        if isinstance(claims, Pages):
            return [self._key("pages", claims.signed.digest(), claims.chain.head)]
        return [
            self._key(
                "release",
                answer.beacon.hex(),
                answer.plan.digest(),
                answer.commit.digest(),
                answer.release.digest(),
                answer.chain.head if answer.chain else "",
            )
            for answer in claims
        ]

    def _key(self, kind: str, *digests: str) -> bytes:
        """Names a proof, its statement and who has verified it."""
        verifiers = VERSION.decode(), version("intertwine"), reference_string.DIGEST, str(self.independent)
        parts = (part.encode() for part in (*verifiers, kind, *digests))
        return tagged_digest("intertwine/verified-proof/1", *parts)


def judge(claims: Claims, ask_both: bool) -> list[str]:
    """Which check each proof fails, empty for valid ones; DISAGREEMENT if both were asked and contradict."""
    if isinstance(claims, Pages):
        fast = [_failed(lambda: verify_pages(claims.signed, claims.chain, claims.proofs))]
        again = [_failed(lambda: _verify_pages_again(claims))] if ask_both else fast
    else:
        fast = ["" if error is None else error.check for error in verify_releases(claims)]
        again = [_failed(partial(_verify_again, answer)) for answer in claims] if ask_both else fast
    return [one if one == two else DISAGREEMENT for one, two in zip(fast, again, strict=True)]


def _verify_again(answer: Answer) -> None:
    independent.verify_file(proof_file.encode(statement_of(answer), answer.proof))


def _verify_pages_again(claims: Pages) -> None:
    body, dataset = claims.signed.body, claims.chain.dataset
    pages = dataset.pages[-len(body.pages) :]
    for index, (page, proof) in enumerate(zip(pages, claims.proofs, strict=True)):
        context = DatasetContext.create(body, claims.signed.key, index).encode()
        independent.verify_file(proof_file.encode(PageStatement(context, dataset.shape, page), proof))


def _failed(verify: Callable[[], None]) -> str:
    try:
        verify()
    except VerificationError as error:
        return error.check
    return ""


def _prepare_worker() -> None:
    """Load what all proofs need; what lives as long as the process need not be looked at by its collector."""
    reference = reference_string.load()
    for part in (reference.g2, reference.g2_tau):
        del part
    gc.freeze()
