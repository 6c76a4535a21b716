"""Measure one case in this process: `python -m deploy.bench.measure CASE BUDGET CACHE`.

CASE is a case as JSON, BUDGET the seconds for repeating a short measurement, CACHE a folder for proofs. On
standard output, one JSON object a line: progress {"doing", "done"}, and at the end {"row"}.

CPU seconds are those of all threads. A figure is the median over at most five runs, or that of one run if it
takes long. Before the first, everything is loaded that a process loads once, the reference string above all,
so that the figures are those of an agent or coordinator that is up. Peak memory is read after proving and
before anything else, so it is what proving takes, commitments included.
"""

import json
import os
import resource
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TypeAlias

from deploy.bench.cases import SIGMAS, Case, Row
from deploy.bench.process import say
from deploy.bench.subjects import Subject, subject
from intertwine.protocols.files import write_atomic
from intertwine.zk import proof_file, reference_string
from intertwine.zk.audit.proofs import Claim, ProofChecker
from intertwine.zk.independent import verify_file
from intertwine.zk.instance import verify_all
from intertwine.zk.sampler import sampler

MAX_RUNS = 5

Report: TypeAlias = Callable[[str, float], None]
"""Takes what is being done, and the fraction done of it."""


@dataclass(frozen=True)
class Cost:
    """Medians over `runs` runs, in seconds."""

    cpu: float
    wall: float
    runs: int


def main(arguments: Sequence[str]) -> int:
    """Measure the case and print its row."""
    case, budget, cache = Case(**json.loads(arguments[0])), float(arguments[1]), Path(arguments[2])
    row = measure(case, budget, cache, lambda doing, done: say({"doing": doing, "done": done}))
    say({"row": row})
    return 0


def measure(case: Case, budget: float, cache: Path, report: Report) -> Row:
    """The case's row. cache: where the proofs of a round are kept between runs."""
    load = os.getloadavg()[0]
    _warm_up(case)
    figures = _together(case, budget, cache, report) if case.proofs > 1 else _alone(case, budget, report)
    return {
        "statement": case.statement,
        "dimension": case.dimension,
        "records": case.records,
        "proofs": case.proofs,
        **figures,
        "goals": dict(case.goals),
        "load_before": round(load, 2),
    }


def cost(action: Callable[[], object], budget: float) -> Cost:
    """Run `action` up to five times, as long as the budget in seconds of wall time lasts, at least once."""
    cpu: list[float] = []
    wall: list[float] = []
    while not wall or (len(wall) < MAX_RUNS and sum(wall) + wall[-1] < budget):
        wall_start, cpu_start = time.perf_counter(), time.process_time()
        action()
        cpu.append(time.process_time() - cpu_start)
        wall.append(time.perf_counter() - wall_start)
    return Cost(statistics.median(cpu), statistics.median(wall), len(wall))


def _alone(case: Case, budget: float, report: Report) -> Row:
    """Proving, both verifiers, and training."""
    report("committing", 0.0)
    chosen = subject(case)
    proofs: set[bytes] = set()
    proving = cost(lambda: proofs.add(chosen.prove(lambda fraction: report("proving", fraction))), 3 * budget)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e6
    (proof,) = proofs  # the same statement gives the same bytes
    report("verifying", 0.0)
    native = cost(lambda: chosen.instance().verify(proof), budget)
    report("verifying with py_ecc", 0.0)
    file = proof_file.encode(chosen.statement, proof)
    independent = cost(lambda: verify_file(file), budget)
    report("training", 0.0)
    return {
        "prove_cpu_s": proving.cpu,
        "prove_wall_s": proving.wall,
        "prove_runs": proving.runs,
        "prove_peak_mb": peak,
        "verify_native_s": native.cpu,
        "verify_wall_s": native.wall,
        "verify_independent_s": independent.cpu,
        "proof_bytes": len(proof),
        **_training(case, budget),
    }


def _together(case: Case, budget: float, cache: Path, report: Report) -> Row:
    """Verifying all proofs of one round; making them is not measured.

    CPU seconds are those of one call in this process, wall seconds those of an auditor's processes, one a
    core, which are up already.
    """
    report("making or loading the round's proofs", 0.0)
    chosen: list[Subject] = []
    proofs: list[bytes] = []
    for number in range(case.proofs):
        chosen.append(subject(case, number))
        proofs.append(_cached(chosen[-1], cache))
        report("making or loading the round's proofs", len(proofs) / case.proofs)
    report("verifying them together", 0.0)

    def verify() -> None:
        claims = [(one.instance, proof) for one, proof in zip(chosen, proofs, strict=True)]
        if any(verify_all(claims)):
            raise RuntimeError(f"a proof is not valid; remove {cache} and run again")

    native = cost(verify, budget)
    with ProofChecker(independent=False, workers=None, cache=None) as checker:
        known = zip(chosen, proofs, strict=True)
        claims = [Claim((), partial(lambda *pair: pair, one.statement, proof)) for one, proof in known]
        groups = [claims[start : start + checker.batch] for start in range(0, len(claims), checker.batch)]

        def verify_in_parallel() -> None:
            if any(any(verdicts) for verdicts in checker.check(len(claims), groups)):
                raise RuntimeError(f"a proof is not valid; remove {cache} and run again")

        verify_in_parallel()
        parallel = cost(verify_in_parallel, budget)
    return {
        "prove_cpu_s": None,
        "prove_wall_s": None,
        "prove_runs": 0,
        "prove_peak_mb": None,
        "verify_native_s": native.cpu,
        "verify_wall_s": parallel.wall,
        "verify_independent_s": None,
        "proof_bytes": sum(map(len, proofs)),
        "training": None,
        "training_cpu_s": None,
    }


def _training(case: Case, budget: float) -> Row:
    from deploy.bench import training  # noqa: PLC0415 — torch would count as memory of the proof

    step = training.step(case)
    if step is None:
        return {"training": None, "training_cpu_s": None}
    step.run()
    return {
        "training": step.name,
        "training_cpu_s": cost(step.run, budget).cpu,
        "records": step.records,
    }


def _warm_up(case: Case) -> None:
    points = reference_string.load()
    for part in (points.lagrange, points.powers, points.g2, points.g2_tau):
        del part  # decoded when first asked for, and kept
    if case.statement in SIGMAS:
        sampler(SIGMAS[case.statement])


def _cached(chosen: Subject, cache: Path) -> bytes:
    """The subject's proof, named by everything that it depends on: circuit, version and statement."""
    path = cache / f"{chosen.instance().transcript().digest().hex()}.proof"
    if not path.exists():
        cache.mkdir(parents=True, exist_ok=True)
        write_atomic(path, chosen.prove(lambda fraction: None))
    return path.read_bytes()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
