"""An agent that cheats in one run: it halves its noise, and forges a proof as well as it can.

Only the demo has it. Everything but the releaser is the real agent.
"""

import argparse
from pathlib import Path

import numpy as np

from intertwine.client.cli import log_to_screen, stop_on_signals
from intertwine.client.home import Home
from intertwine.client.participant import Releaser, ReleaseWork, Vector, honest_release
from intertwine.client.run import run_agent
from intertwine.zk import release
from intertwine.zk.round_proof import statement_for


def cheat_in(run: str) -> Releaser:
    """A releaser that scales its noise down by half in the run of this name and is honest in all others."""

    def releaser(work: ReleaseWork) -> tuple[Vector, bytes]:
        if work.plan.run != run:
            return honest_release(work)
        noise = release.noise(work.opening, work.beacon, work.commit.body.slot.identifier())
        update = work.gradient + np.round(noise / 2).astype(np.int64)
        statement = statement_for(work.plan, work.commit, work.beacon, update)
        return update, release.prove_unchecked(statement, work.opening)

    return releaser


def main() -> None:
    """Run the agent of `--home`, dishonest in the run `--run`."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--home", type=Path, required=True)
    parser.add_argument("--run", required=True)
    arguments = parser.parse_args()
    log_to_screen()
    run_agent(Home.open(arguments.home), stop_on_signals(), cheat_in(arguments.run))


if __name__ == "__main__":
    main()
