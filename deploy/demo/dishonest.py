"""An agent that cheats in one run: it claims sales of its own products that its enrolled records do not hold.

Its noise is honest, and it forges the proof as well as it can. Only the demo has it; everything but the
releaser is the real agent.
"""

import argparse
from pathlib import Path

from intertwine.client.cli import stop_on_signals
from intertwine.client.home import Home
from intertwine.client.openings import Vector
from intertwine.client.participant import Releaser, ReleaseWork, honest_release
from intertwine.client.run import run_agent
from intertwine.protocols.logs import configure_logging

OWN_PRODUCTS = 5
"""The first items of the catalogue, which it would like to see recommended."""
INVENTED_SALES = 400 * 57
"""What 400 more customers would add to each: an item counts 57 units."""


def cheat_in(run: str) -> Releaser:
    """A releaser that inflates the counts of its products in the run of this name and is honest in others."""

    def releaser(work: ReleaseWork) -> tuple[Vector, bytes]:
        if work.plan.run != run:
            return honest_release(work)
        update = work.total + work.noise
        update[:OWN_PRODUCTS] += INVENTED_SALES
        return update, work.opening.prove_unchecked(work.statement(update))

    return releaser


def main() -> None:
    """Run the agent of `--home`, dishonest in the run `--run`."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--home", type=Path, required=True)
    parser.add_argument("--run", required=True)
    arguments = parser.parse_args()
    configure_logging()
    run_agent(Home.open(arguments.home), stop_on_signals(), cheat_in(arguments.run))


if __name__ == "__main__":
    main()
