"""Print the parameter tables of ARGUMENT.md section 5, recomputed from the definition of the noise.

Run: python zk/scripts/parameter_tables.py
"""

import math
from collections.abc import Callable

from intertwine.zk.sampler import SIGMAS, Sampler, sampler, total_variation


def main() -> None:
    """Print one row a parameter and one column a sigma."""
    samplers = [sampler(sigma) for sigma in SIGMAS]
    _print("σ", samplers, lambda chosen: str(chosen.sigma))
    print("|---" * (len(samplers) + 1) + "|")
    _print("levels", samplers, lambda chosen: str(len(chosen.steps)))
    _print("variance", samplers, lambda chosen: str(chosen.variance))
    _print("B", samplers, lambda chosen: str(chosen.bits))
    _print("step k", samplers, lambda chosen: str(chosen.steps[1]) if len(chosen.steps) > 1 else "")
    _print("rows of the threshold table", samplers, lambda chosen: str(len(chosen.table.rows)))
    _print("largest \\|z_l\\|", samplers, lambda chosen: str(chosen.table.rows[-1][0]))
    _print(
        "log₂ TV, per coordinate", samplers, lambda chosen: f"{math.log2(total_variation(chosen.sigma)):.2f}"
    )


def _print(name: str, samplers: list[Sampler], value: Callable[[Sampler], str]) -> None:
    print("|", " | ".join((name, *map(value, samplers))), "|")


if __name__ == "__main__":
    main()
