"""An agent that cheats in one run: it halves its noise, and forges a proof as well as it can.

Only the demo has it. Everything but the releaser is the real agent.
"""

import argparse
from pathlib import Path

import numpy as np

from intertwine.client.cli import log_to_screen, stop_on_signals
from intertwine.client.home import Home
from intertwine.client.openings import Vector
from intertwine.client.participant import Releaser, ReleaseWork, honest_release
from intertwine.client.run import run_agent


def cheat_in(run: str) -> Releaser:
    """A releaser that scales its noise down by half in the run of this name and is honest in all others."""

    def releaser(work: ReleaseWork) -> tuple[Vector, bytes]:
        if work.plan.run != run:
            return honest_release(work)
        update = work.total + np.round(work.noise / 2).astype(np.int64)
        return update, work.opening.prove_unchecked(work.statement(update))

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
