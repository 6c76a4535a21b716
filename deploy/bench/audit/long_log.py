"""A log of very many entries: one run that was launched again and again and never found its quorum."""

from collections.abc import Iterator
from pathlib import Path

from deploy.bench.audit.federation import RUN, START, TASK, enrolments, forecast_plan, log_key
from intertwine.protocols.bundle import write_bundle
from intertwine.protocols.checkpoint import Checkpoint, sign_checkpoint
from intertwine.protocols.encoding import sha256
from intertwine.protocols.entries import Failure, PlanEntry
from intertwine.protocols.files import write_atomic
from intertwine.protocols.merkle import Tree, leaf_hash
from intertwine.protocols.plan import Plan
from intertwine.protocols.round import RoundId, Signed

PARTICIPANT = "participant-01"


def make_long_log(folder: Path, size: int) -> Path:
    """A bundle with a log of `size` entries, at least 4, from `folder` if it was made before."""
    bundle = folder / f"log-{size}"
    if bundle.exists():
        return bundle
    folder.mkdir(parents=True, exist_ok=True)
    plan, parts = forecast_plan([PARTICIPANT], rounds=1)
    blobs = {sha256(part): folder / sha256(part) for part in parts}
    for part in parts:
        write_atomic(blobs[sha256(part)], part)
    key = log_key()
    origin = f"intertwine/{key.public[:16]}"
    root = Tree(map(leaf_hash, _entries(plan, size))).root(size)
    write_bundle(
        bundle,
        origin=origin,
        log_key=key.public,
        runs=[RUN],
        entries=_entries(plan, size),
        checkpoint=sign_checkpoint(Checkpoint(origin, size, root), key),
        blobs=blobs,
    )
    return bundle


def _entries(plan: Plan, size: int) -> Iterator[bytes]:
    before = [*enrolments([PARTICIPANT]), PlanEntry(time=START, plan=Signed[Plan].create(plan, log_key()))]
    for entry in before:
        yield entry.encode()
    identity = RoundId(deployment=plan.deployment, run=RUN, task=TASK, number=1)
    for number in range(len(before), size):
        yield Failure(time=START + number, round=identity, reason="0 commits, but the quorum is 1").encode()
