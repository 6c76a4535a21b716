"""How long a run will take: as long as the task's rounds took here lately."""

import statistics
from collections.abc import Iterator

from intertwine.protocols.entries import ModelEntry, RoundOpened
from intertwine.protocols.plan import Plan
from intertwine.server.store import Store

EXCHANGE_S = 2.0
COORDINATE_S = 0.0005
"""Rules of thumb for a task that was never run here: an exchange, of which a round has two; and proving and
verifying, a coordinate."""
_RECENT_RUNS = 5


def expected_seconds(store: Store, plan: Plan) -> tuple[float, bool]:
    """Seconds until the plan's run is published, and whether rounds of the same task and size say so."""
    took = list(_round_seconds(store, plan))
    if took:
        return plan.rounds * statistics.median(took), True
    return plan.rounds * (2 * EXCHANGE_S + COORDINATE_S * plan.dimension), False


def _round_seconds(store: Store, plan: Plan) -> Iterator[int]:
    alike = [
        run.name
        for run in store.runs()
        if run.task == plan.task and Plan.decode(run.plan).dimension == plan.dimension
    ]
    for name in alike[-_RECENT_RUNS:]:
        opened = 0
        for _, entry in store.run_entries(name):
            if isinstance(entry, RoundOpened):
                opened = entry.time
            elif isinstance(entry, ModelEntry):
                yield entry.time - opened
