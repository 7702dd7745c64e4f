"""Chooses how long a policy clones a task, and how long and at which rate GRPO trains it then.

The rule was written before the search, and uses held-out seeds only:

- Cloning uses fresh demonstrations in every update. It stops at the first evaluation at which a
  policy succeeds in `ENOUGH` of its episodes, or after `LONGEST` updates; the slowest held-out seed
  decides. So GRPO finds rewards and has something left to teach.
- If a held-out seed never gets there, cloning the same `FEW` demonstrations again and again is
  tried as well, and the clone whose slower seed succeeds most is the start.
- GRPO trains at each of `RATES`, and twice as long from a start that is not enough. The rate and
  length with the highest mean success are chosen; of those within `TIE` of it the shortest, and
  then the lowest rate.
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

HELD_OUT = (1000, 1001)  # seeds that are used for nothing else
ENOUGH = 0.5  # success at which cloning stops
LONGEST = 240  # updates of cloning at most
FEW = 48  # demonstrations, as `train` gives by default
RATES = (1e-4, 3e-4, 1e-3)  # of GRPO
LENGTH = 100  # updates of GRPO at most, from a start that is enough
EVERY = 20  # updates between evaluations, the steps in which lengths are chosen
TIE = 0.01  # success rates closer than this count as equal


class Setting(NamedTuple):
    """The setting with which a policy is trained on a task."""

    warm_updates: int  # of cloning 256 demonstrations each
    num_demos: int  # that are drawn from again and again; 0: fresh ones in every update
    learning_rate: float  # of GRPO after that
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
                clone = cloning(name, task, seed, num_demos, episodes)
                known = known + clone
                yield clone
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
    records = []
    for step, success in success_curve(cloned):
        records.append(record(name, seed, Setting(step, num_demos, 0.0, 0), success))
        if success >= ENOUGH:
            break
    return records


def curve(known: list[Record], num_demos: int) -> list[float]:
    """Returns the success of the slowest held-out seed at each evaluation of cloning.

    A seed that stopped keeps its last success. The curve is empty while a seed is missing.
    """
    clones = [select(known, seed=seed, num_demos=num_demos, updates=0) for seed in HELD_OUT]
    if not all(clones):
        return []
    length = max(map(len, clones))
    return [
        min(clone[min(i, len(clone) - 1)]["success"] for clone in clones) for i in range(length)
    ]


def is_enough(successes: list[float]) -> bool:
    """Returns whether the newest success ends the cloning."""
    return bool(successes) and successes[-1] >= ENOUGH


def reinforcing(
    name: str, task: Any, begin: "Start", rates: list[float], seed: int, episodes: int
) -> Iterator[list[Record]]:
    """Yields GRPO's success at each evaluation, for each rate; all rates start from one clone."""
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
    """Returns (updates, success) of each evaluation after the first update."""
    return [
        (entry["step"], float(np.mean(entry["eval_success"])))
        for entry in result.entries[1:]
        if "eval_success" in entry
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
    """Returns how to clone: until the slowest held-out seed has enough, else to its best."""
    starts = []
    for num_demos in (0, FEW):
        for i, success in enumerate(curve(known, num_demos), 1):
            starts.append(Start(success, EVERY * i, num_demos))
    enough = [start for start in starts if start.success >= ENOUGH]
    return enough[0] if enough else max(starts, key=lambda start: start.success)


def choose(known: list[Record], name: str) -> Setting | None:
    """Returns the setting that the rule chooses for a task; None while runs are missing."""
    trained = [r for r in select(known, task=name) if r["updates"]]
    needed = {(seed, rate) for seed in HELD_OUT for rate in RATES}
    if not {(r["seed"], r["learning_rate"]) for r in trained} >= needed:
        return None
    means = {}
    for setting in {setting_of(r) for r in trained}:
        own = select(trained, **setting._asdict())
        means[setting] = np.mean([r["success"] for r in own])
    good = [setting for setting, mean in means.items() if mean >= max(means.values()) - TIE]
    return min(good, key=lambda setting: (setting.updates, setting.learning_rate))
