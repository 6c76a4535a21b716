"""Many simulated runs at once: a grid of values of epsilon and seeds, over processes of one thread each."""

import multiprocessing
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from itertools import product
from typing import TypeAlias

import torch

Figures: TypeAlias = Mapping[str, float]
Cell: TypeAlias = Callable[[float, int], Figures]
"""One simulated federation, from epsilon and seed to figures by name; a module's function, to be pickled."""


@dataclass(frozen=True)
class Place:
    """Where in a sweep a cell is."""

    name: str
    epsilon: float
    seed: int


def workers(processes: int) -> ProcessPoolExecutor:
    """New processes of one torch thread each: no forks, as threads do not survive one.

    A script that uses them must be importable without side effects.
    """
    context = multiprocessing.get_context("spawn")
    return ProcessPoolExecutor(processes, context, initializer=torch.set_num_threads, initargs=(1,))


def sweep(
    cells: Mapping[str, Cell],
    epsilons: Sequence[float],
    seeds: Sequence[int],
    *,
    processes: int = 2,
    done: Callable[[Place], None] = lambda place: None,
) -> dict[Place, Figures]:
    """Every cell's figures at every epsilon and seed, in that order, whatever finishes first.

    done: called in this process after each of them. What a cell raises ends the sweep.
    """
    places = [Place(*each) for each in product(cells, epsilons, seeds)]
    with workers(processes) as pool:
        waiting = {pool.submit(cells[at.name], at.epsilon, at.seed): at for at in places}
        try:
            found = {}
            for future in as_completed(waiting):
                found[waiting[future]] = future.result()
                done(waiting[future])
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise
    return {at: found[at] for at in places}
