"""Which setting lets a policy learn a task: how long it clones, and how long and at which rate GRPO trains it afterwards.

It is chosen on held-out seeds by a rule that was written before the search. Cloning, with fresh demonstrations in every update,
stops at the first evaluation at which a policy succeeds in `ENOUGH` of its episodes, or after `LONGEST` updates; the slowest
held-out seed decides. So GRPO finds rewards, and has something left to teach. Where a held-out seed never gets there, cloning of
`FEW` demonstrations again and again is tried as well, and the clone whose slower seed succeeds most is the start. GRPO then trains
at each of `RATES`, twice as long behind a start that is not enough, and the rate and length with the highest mean success are
chosen; of those within `TIE` of it the shortest, and then the lowest rate.
"""

import dataclasses
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np

from agentic_rl import algorithms
from agentic_rl.algorithms import swap
from agentic_rl.optimizer import Adam
from agentic_rl.progress import Reporter
from agentic_rl.training.initial_weights import warm_start
from agentic_rl.training.programs import Programs
from agentic_rl.training.run import Run, WarmStart
from agentic_rl.training.train import Result, train
from experiments.cli import progress
from experiments.reports.stats import Record, select

HELD_OUT = (1000, 1001)  # seeds that judge nothing else
ENOUGH, LONGEST = 0.5, 240  # success at which cloning stops, and its updates at most
FEW = 48  # demonstrations, as `train` gives by default
RATES = (1e-4, 3e-4, 1e-3)  # of GRPO
LENGTH = 100  # updates of GRPO at most, from a start that is enough
EVERY = 20  # updates between evaluations, and so the steps in which lengths are chosen
TIE = 0.01


class Setting(NamedTuple):
    """How a policy is trained on a task."""

    warm_updates: int  # of cloning 256 demonstrations each
    num_demos: int  # that are drawn from again and again; 0: fresh ones in every update
    learning_rate: float  # of GRPO behind it
    updates: int  # of GRPO on 256 episodes each


def run(task: Any, setting: Setting, seed: int, episodes: int, eval_every: int = EVERY) -> Run:
    """Returns the run of this setting and seed."""
    grpo = swap(algorithms.GRPO, optimizer=Adam(learning_rate=setting.learning_rate))
    sizes = dict(
        updates=setting.updates, seed=seed, eval_every=eval_every, eval_episodes=episodes, devices=1
    )
    return Run(task, grpo, warm_start=WarmStart(setting.warm_updates, setting.num_demos), **sizes)


def search(name: str, task: Any, known: list[Record], episodes: int) -> Iterator[list[Record]]:
    """Yields the records of each run that the choice for this task still lacks."""
    known = select(known, task=name)
    for num_demos in (0, FEW):
        for seed in HELD_OUT:
            if not select(known, seed=seed, num_demos=num_demos, updates=0):
                found = cloning(name, task, seed, num_demos, episodes)
                known = known + found
                yield found
        if is_enough(curve(known, num_demos)):
            break
    for seed in HELD_OUT:
        rates = [rate for rate in RATES if not select(known, seed=seed, learning_rate=rate)]
        if rates:
            yield from reinforcing(name, task, start(known), rates, seed, episodes)


def cloning(name: str, task: Any, seed: int, num_demos: int, episodes: int) -> list[Record]:
    """Returns a clone's success at each evaluation, up to the first that is enough."""
    successes = []
    whole = run(task, Setting(0, 0, RATES[0], LONGEST), seed, episodes)
    cloned = train(
        dataclasses.replace(whole, algorithm=WarmStart(LONGEST, num_demos).algorithm),
        on_progress=lambda now: (successes.append(now.success), progress.show(now)),
        should_stop=lambda: is_enough(successes),
    )
    found = success_curve(cloned)
    ends = next((step for step, success in found if success >= ENOUGH), LONGEST)
    return [
        record(name, seed, Setting(step, num_demos, 0.0, 0), success)
        for step, success in found
        if step <= ends
    ]


def curve(known: list[Record], num_demos: int) -> list[float]:
    """Returns the success of the slowest held-out seed after each `EVERY` updates of cloning; one that stopped keeps its last."""
    clones = [select(known, seed=seed, num_demos=num_demos, updates=0) for seed in HELD_OUT]
    length = max(map(len, clones))
    return (
        [min(c[min(i, len(c) - 1)]["success"] for c in clones) for i in range(length)]
        if all(clones)
        else []
    )


def is_enough(successes: list[float]) -> bool:
    """Returns whether the newest success ends the cloning."""
    return bool(successes) and successes[-1] >= ENOUGH


def reinforcing(
    name: str, task: Any, begin: "Start", rates: list[float], seed: int, episodes: int
) -> Iterator[list[Record]]:
    """Yields, for each rate, GRPO's success at each evaluation; all rates start from one clone."""
    length = LENGTH if begin.success >= ENOUGH else 2 * LENGTH
    settings = [Setting(begin.warm_updates, begin.num_demos, rate, length) for rate in rates]
    first = run(task, settings[0], seed, episodes)
    report = Reporter(progress.show)
    clone = warm_start(first, Programs(first, report.phase), report)
    for setting in settings:
        result = train(run(task, setting, seed, episodes), on_progress=progress.show, begin=clone)
        yield [
            record(name, seed, setting._replace(updates=step), success)
            for step, success in success_curve(result)
        ]


def success_curve(result: Result) -> list[tuple[int, float]]:
    """Returns (updates, success) of each evaluation behind the first update."""
    return [
        (row["step"], float(np.mean(row["eval_success"])))
        for row in result.entries[1:]
        if "eval_success" in row
    ]


def record(name: str, seed: int, setting: Setting, success: float) -> Record:
    """Returns a line of search.csv."""
    return {"task": name, "seed": seed, **setting._asdict(), "success": success}


def setting_of(record: Record) -> Setting:
    """Returns the setting that a line of search.csv or results.csv was measured with."""
    return Setting(*[record[column] for column in Setting._fields])


class Start(NamedTuple):
    """The clone that GRPO starts from."""

    success: float  # of the slowest held-out seed
    warm_updates: int
    num_demos: int


def start(known: list[Record]) -> Start:
    """Returns how to clone: until the slowest held-out seed had enough, or else to where it succeeded most."""
    found = [
        Start(y, EVERY * (i + 1), num_demos)
        for num_demos in (0, FEW)
        for i, y in enumerate(curve(known, num_demos))
    ]
    return next(
        (each for each in found if each.success >= ENOUGH),
        max(found, key=lambda each: each.success),
    )


def choose(known: list[Record], name: str) -> Setting | None:
    """Returns the setting that the rule chooses for a task; None while runs are missing."""
    trained = [r for r in select(known, task=name) if r["updates"]]
    cells = {setting_of(r) for r in trained}
    if not {(r["seed"], r["learning_rate"]) for r in trained} >= {
        (seed, rate) for seed in HELD_OUT for rate in RATES
    }:
        return None
    means = {
        cell: np.mean([r["success"] for r in select(trained, **cell._asdict())]) for cell in cells
    }
    best = max(means.values())
    return min(
        (cell for cell in cells if means[cell] >= best - TIE),
        key=lambda cell: (cell.updates, cell.learning_rate),
    )
