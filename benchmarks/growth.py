"""Measures how the cost of an update grows: `python benchmarks/growth.py` prints README.md's table.

One size is varied at a time, of a GRPO run on running_sum: turns, parameters, episodes or seeds. A
line has the seconds per update at each value, and the exponent x of the power law
seconds = c · value^x that fits them best, in logarithms. Each value runs in a process of its own.
"""

import argparse
import os
import time

import jax
import numpy as np
from loop import Case, in_fresh_process, make_run

from agentic_rl.policy import transformer

GRPO = Case("grpo", "running_sum")


def turns(context: str) -> dict[int, Case]:
    """Returns a case for each number of turns."""
    counts = (8, 16, 32, 64, 128)
    return {n: GRPO._replace(context=context, task_changes={"num_turns": n}) for n in counts}


def policies() -> dict[int, Case]:
    """Returns a case for each size of the policy, by its number of parameters."""
    sizes = [(64, 2, 4), (128, 4, 4), (256, 4, 8), (384, 6, 6)]
    cases = [
        GRPO._replace(policy_changes=dict(width=w, layers=n, heads=h, mlp=4 * w))
        for w, n, h in sizes
    ]
    return {transformer.num_params(make_run(case).policy): case for case in cases}


def episodes() -> dict[int, Case]:
    """Returns a case for each number of episodes in an update, in groups of 8."""
    counts = (64, 256, 1024, 4096)
    return {n: GRPO._replace(algorithm_changes={"problems": n // 8}) for n in counts}


def seeds() -> dict[int, Case]:
    """Returns a case for each number of seeds that train in one run."""
    return {n: GRPO._replace(seeds=n) for n in (1, 2, 4, 8)}


GROWTH = {
    "turns, markov context": turns("markov"),
    "turns, history context": turns("history"),
    "parameters": policies(),
    "episodes": episodes(),
    "seeds": seeds(),
}


def exponent(values: list[float], seconds: list[float]) -> float:
    """Returns the slope of log seconds over log value, by least squares."""
    return float(np.polyfit(np.log(values), np.log(seconds), 1)[0])


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--only", default="", help="the sizes whose name contains this")
    arguments = parser.parse_args()
    print(f"{os.cpu_count()} cores, jax {jax.__version__}, {time.strftime('%Y-%m-%d')}\n")
    print("| what grows | seconds per update | exponent |\n| --- | --- | --- |")
    for name, cases in GROWTH.items():
        if arguments.only in name:
            measured = [in_fresh_process(case, arguments.repeats) for case in cases.values()]
            seconds = [x["update"] for x in measured]
            shown = ", ".join(f"{n:,}: {s:.3f}" for n, s in zip(cases, seconds))
            print(f"| {name} | {shown} | {exponent(list(cases), seconds):.2f} |", flush=True)


if __name__ == "__main__":
    main()
