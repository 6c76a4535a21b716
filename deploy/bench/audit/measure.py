"""Measure one part in this process: `python -m deploy.bench.audit.measure PART SCALE CACHE`.

SCALE is a scale as JSON, CACHE a folder for what is generated once. Figures are of wall time: an audit uses
all processors, and what its user waits for is its end.
"""

import json
import os
import random
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeAlias, TypeVar

from deploy.bench.audit.parts import Part, Scale
from deploy.bench.cases import Row
from deploy.bench.process import say
from intertwine.protocols.bundle import VERSION as BUNDLE_VERSION
from intertwine.protocols.bundle import Bundle
from intertwine.protocols.cosignature import open_cosigned
from intertwine.protocols.encoding import length_prefixed, sha256
from intertwine.protocols.entries import LogCreated, decode_entry
from intertwine.protocols.errors import InputError, IntertwineError
from intertwine.protocols.merkle import Tree, leaf_hash, verify_consistency, verify_inclusion
from intertwine.protocols.plan import Plan
from intertwine.protocols.policy import Policy
from intertwine.zk import proof_file, reference_string
from intertwine.zk.audit import Status, verify_bundle
from intertwine.zk.audit.history import History
from intertwine.zk.independent import verify_file
from intertwine.zk.instance import VERSION
from intertwine.zk.round_proof import Answer, statement_of, verify_release

T = TypeVar("T")

Report: TypeAlias = Callable[[int, int], None]
"""Takes how much is done, and how much there is to do."""

LOG_PROOFS = 10_000
"""Log proofs whose mean is the figure; their places are drawn anew from the same seed."""


def main(arguments: Sequence[str]) -> int:
    """Measure the part and print its figures."""
    part: Part = arguments[0]  # type: ignore[assignment]  # said by our own parent
    scale, cache = Scale(**json.loads(arguments[1])), Path(arguments[2])
    try:
        row = _PARTS[part](scale, cache, lambda done, total: say({"done": done / max(1, total)}))
    except IntertwineError as error:
        print(f"Error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:  # its parent says so
        return 130
    say({"row": row})
    return 0


def federation(scale: Scale, cache: Path, report: Report) -> Row:
    """Make the federation's bundle, or find it."""
    from deploy.bench.audit.federation import make  # noqa: PLC0415 — the other parts need no torch

    bundle = make(_folder(cache, scale), scale.rounds, scale.participants, report)
    return {
        "rounds": scale.rounds,
        "participants": scale.participants,
        "proofs": scale.proofs,
        "bundle_mb": bundle.stat().st_size / 1e6,
    }


def audit(scale: Scale, cache: Path, report: Report) -> Row:
    """The whole audit of the federation's bundle: log, history, proofs, models, figures."""
    workers = len(os.sched_getaffinity(0))
    return {"seconds_native": _audited(_folder(cache, scale) / "bundle", report), "workers": workers}


def one_by_one(scale: Scale, cache: Path, report: Report) -> Row:
    """The proofs alone, each verified by itself."""
    answers = _answers(_folder(cache, scale) / "bundle")
    reference_string.load()
    started = time.perf_counter()
    for done, answer in enumerate(answers, 1):
        verify_release(*answer)
        report(done, len(answers))
    return {"seconds_one_by_one": time.perf_counter() - started}


def independent(scale: Scale, cache: Path, report: Report) -> Row:
    """The independent verifier on some proofs, spread over all rounds; the mean."""
    answers = _answers(_folder(cache, scale) / "bundle")
    chosen = answers[:: max(1, len(answers) // scale.sample)][: scale.sample]
    files = [proof_file.encode(statement_of(answer), answer.proof) for answer in chosen]
    verify_file(files[0])  # loads what a process loads once
    started = time.perf_counter()
    for done, file in enumerate(files, 1):
        verify_file(file)
        report(done, len(files))
    seconds = (time.perf_counter() - started) / len(files)
    return {"seconds_independent_per_proof": seconds, "independent_sample": len(files)}


def log(scale: Scale, cache: Path, report: Report) -> Row:
    """The long log's file hashed up to its root, and proofs from the tree."""
    from deploy.bench.audit.long_log import make_long_log  # noqa: PLC0415

    bundle = Bundle.open(make_long_log(_folder(cache, scale).parent, scale.log_entries))
    started = time.perf_counter()
    tree = Tree(map(leaf_hash, bundle.entries()))
    root = tree.root(len(tree))
    seconds = time.perf_counter() - started
    checkpoint = open_cosigned(bundle.manifest.checkpoint, _policy(bundle)).checkpoint
    if (checkpoint.size, checkpoint.root) != (len(tree), root):
        raise _unusable(bundle.path, "its log is not the one that was signed")
    return {
        "log_entries": len(tree),
        "log_mb": bundle.path.stat().st_size / 1e6,
        "log_seconds": seconds,
        **_log_proofs(tree, root, report),
    }


def log_audit(scale: Scale, cache: Path, report: Report) -> Row:
    """The whole audit of the long log, which has no proofs."""
    bundle = _folder(cache, scale).parent / f"log-{scale.log_entries}"
    return {"log_audit_seconds": _audited(bundle, report)}


_PARTS: dict[Part, Callable[[Scale, Path, Report], Row]] = {
    "federation": federation,
    "audit": audit,
    "one_by_one": one_by_one,
    "independent": independent,
    "log": log,
    "log_audit": log_audit,
}


def _folder(cache: Path, scale: Scale) -> Path:
    """Where the federation of that size is kept, by everything that its proofs and entries depend on."""
    documents = [document.model_fields["version"].default for document in (Plan, LogCreated)]
    versions = length_prefixed(
        *(str(version).encode() for version in (VERSION.decode(), BUNDLE_VERSION, *documents))
    )
    return cache / sha256(versions)[:16] / f"{scale.rounds}x{scale.participants}"


def _policy(bundle: Bundle) -> Policy:
    """Whoever generated the bundle trusts its key; there are no witnesses."""
    return Policy.of_key(bundle.manifest.log_key)


def _audited(bundle: Path, report: Report) -> float:
    """Seconds that `verify_bundle` takes; InputError unless it passes."""
    started = time.perf_counter()
    verdict = verify_bundle(bundle, _policy(Bundle.open(bundle)), progress=report)
    seconds = time.perf_counter() - started
    if not verdict.passed:
        failed = [check.detail for check in verdict.checks if check.status is Status.FAILED]
        raise _unusable(bundle, f"it fails its audit, {failed[0]}")
    return seconds


def _unusable(bundle: Path, reason: str) -> InputError:
    """What is generated passes; if it does not, it was altered, or is of another version."""
    return InputError(f"{bundle} cannot be used: {reason}.", "Remove it and run the benchmark again.")


def _answers(path: Path) -> list[Answer]:
    """Every release of a bundle, with what it is judged by."""
    bundle = Bundle.open(path)
    tree = Tree(map(leaf_hash, bundle.entries()))
    history = History(bundle.manifest.origin, bundle.manifest.log_key, tree.root, bundle.blob)
    for index, data in enumerate(bundle.entries()):
        history.add(index, decode_entry(data))
    return [record.answer(bundle.blob) for record in history.releases()]


def _log_proofs(tree: Tree, root: bytes, report: Report) -> Row:
    """Microseconds to make a proof from the tree, and to check one; and to find a root from all leaves."""
    size, draw = len(tree), random.Random(1)  # noqa: S311 — places to look at, not secrets
    places = [draw.randrange(1, size) for _ in range(LOG_PROOFS)]
    making, inclusions = _mean_us(lambda place: tree.inclusion(place, size), places)
    report(1, 4)
    extending, extensions = _mean_us(lambda place: tree.consistency(place, size), places)
    report(2, 4)
    checking, _ = _mean_us(
        lambda number: verify_inclusion(
            tree.leaf(places[number]), places[number], size, inclusions[number], root
        ),
        range(LOG_PROOFS),
    )
    roots = [tree.root(place) for place in places]
    checking_extension, _ = _mean_us(
        lambda number: verify_consistency(places[number], roots[number], size, root, extensions[number]),
        range(LOG_PROOFS),
    )
    report(3, 4)
    leaves = [tree.leaf(index) for index in range(size)]
    plainly, _ = _mean_us(lambda _: Tree(leaves).root(size), range(1))
    return {
        "inclusion_proof_us": making,
        "consistency_proof_us": extending,
        "inclusion_check_us": checking,
        "consistency_check_us": checking_extension,
        "root_from_leaves_us": plainly,
    }


def _mean_us(action: Callable[[int], T], arguments: Sequence[int]) -> tuple[float, list[T]]:
    """Microseconds a call, on average, and what the calls returned."""
    started = time.perf_counter()
    results = [action(argument) for argument in arguments]
    return 1e6 * (time.perf_counter() - started) / len(arguments), results


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
