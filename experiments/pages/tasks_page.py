"""How hard is each task for chance, for its expert, for supervised learning, and for reinforcement learning after it?

    python -m experiments.pages.tasks_page                        # writes docs/tasks.md: the tasks' own words, and what was measured
    python -m experiments.pages.tasks_page --measure points,todo  # measures these first (`--measure all`: every task)

Measured on unseen problems at default knobs, with sampled actions: uniformly random actions, the expert, a policy that cloned
demonstrations (SFT), the same policy after GRPO, and what `python -m experiments.train grpo <task>` gives without other flags.
How long a policy clones, and how long and at which rate GRPO trains it, is chosen for each task on held-out seeds, which
`task_settings` does. Interrupted, the same command continues behind the last run that was finished.
"""

import dataclasses
import doctest
import inspect
import re
import sys
from pathlib import Path
from types import ModuleType
from typing import Annotated, Any

import jax
import jax.numpy as jnp
import numpy as np

from agentic_rl import envs, parallel
from agentic_rl.config import checked, named
from agentic_rl.config.ranges import Count, Range
from agentic_rl.records.lock import Lock
from agentic_rl.rollout.actors import Expert, Random
from agentic_rl.rollout.rollout import rollout
from agentic_rl.training.run import Run
from agentic_rl.training.train import train
from experiments.cli import console, interrupt, progress
from experiments.cli.flags import from_flags, look_up, parse
from experiments.cli.part_counter import PartCounter
from experiments.cli.progress import Line
from experiments.pages import task_settings
from experiments.pages.task_settings import Setting, setting_of
from experiments.reports import report
from experiments.reports.stats import Record, distinct, interval, select
from experiments.train import Command as Train

PLAYERS = {"random": Random(), "expert": Expert()}
WHO = {
    "random": "random",
    "expert": "expert",
    "sft": "SFT",
    "grpo": "SFT, then GRPO",
    "default": "`train grpo`",
}
NO_TRAINING = Setting(0, 0, 0.0, 0)
STALE = "†"
INTRODUCTION = """# Tasks

Written by `python -m experiments.pages.tasks_page` from the tasks' own words, after `python -m experiments.pages.tasks_page --measure all` had
measured success at default knobs, on unseen problems, with sampled actions: means over seeds 0 to 4 with Student's 95% interval.
The policy has 135,553 weights and reads the whole episode so far (history context), as in `python -m experiments.train`.

- *SFT*: the policy after it cloned so many batches of 256 fresh demonstrations. Cloning stops on purpose once it succeeds in half
  of its episodes, or after 240 updates, so that GRPO finds rewards and has something left to teach. Where fresh demonstrations
  never bring it there, cloning 48 demonstrations again and again is tried as well.
- *SFT, then GRPO*: the same policy after so many updates of GRPO on 256 episodes each, at the rate given.
- *`train grpo`*: what `python -m experiments.train grpo <task>` ends with if no other flag is given: 30 updates of cloning 48
  demonstrations, and 200 of GRPO at 3e-4.

Both lengths and the rate were chosen for each task on the held-out seeds 1000 and 1001
([all that was tried](../results/tasks/search.csv);
the rule is in `experiments/pages/task_settings.py`). A dash was not measured yet. No number is for comparing methods: only GRPO was tuned.
"""
FALLS = """
## Why GRPO can end below its clone

A clone that hardly ever fails gives GRPO hardly any gradient, and Adam makes steps of full size of the little that is left: one
failed episode can undo what cloning taught. How far a policy falls is up to the learning rate. Mean success of the held-out seeds
when their cloning stopped, and after {length} updates of GRPO from the same clones:

{table}

One run shows how ([its updates](../results/tasks/one_failure.csv)):

    python -m experiments.train grpo two_prompt --warm-start.updates 60 --warm-start.num-demos 0 --updates 60 --seed 4 --devices 1

Cloning ends at 1.000, and for 23 updates no group has a gradient. In update 24 one episode of 256 fails, so that one group of 32
has a gradient, whose norm is .25 (the clip is at .5). In the updates behind it the gradient is exactly 0 again, but Adam's momentum
goes on in the direction of that failure: sampled success is 1.000 in update 25, .625 in 26 and .406 in 27. From then on one of the
two prompts is always answered wrongly. Its groups are as uniform as before, so GRPO has nothing to compare, and success stays at
.56. On the way the entropy is .04 at most, and the ratio's clip cuts off nothing: neither shows or prevents the fall.

`memorize` falls in the same way. From clones at 1.000 (60 updates; seeds 1000 and 1001), 60 updates of GRPO at the default rate of
3e-4 end at .629 and .727, at 1e-4 at .996 and .998, and at 3e-5 at 1.000 twice. With Adam's `eps` at 1e-2, so that a small
gradient moves little, they end at 1.000 and .996; without momentum (`b1` 0) both end at 0; under Dr. GRPO, which does not divide by a
group's deviation, at .795 and .533 ([all variants](../results/tasks/falls.csv)). So it is Adam that makes rare gradients large.
"""
REPEATS = """
## Where a few demonstrations teach more than fresh ones

Where cloning 256 fresh demonstrations in every update did not teach the task, cloning {few} again and again was tried with as many
demonstrations an update. Success on unseen problems at the end of each, a mean over the held-out seeds
(the same was seen on arithmetic by Charton & Kempe 2024, 2410.07041):

{table}
"""
OUTDATED = f"""
{STALE} Not measured with the setting that the search chooses now, or before there was one: `--measure` with the task's name does it anew.
"""


@checked
class Command:
    """Write docs/tasks.md, and measure before if asked."""

    measure: str = ""  # names of tasks, separated by commas; all: every task
    seeds: Annotated[int, Range(2, why="for intervals")] = 5
    episodes: Count = 1024  # for every number and seed
    out: str = "results/tasks"
    page: str = "docs/tasks.md"


def main(arguments: list[str]) -> int:
    command, known = from_flags(Command, Command(), arguments), named(envs)
    console.check_checkout(command.out, command.page)
    chosen = (
        sorted(known)
        if command.measure == "all"
        else [name for name in command.measure.split(",") if name]
    )
    tasks = {name: look_up("task", name, known)() for name in chosen}
    book = Book.read(Path(command.out))
    if tasks:
        parallel.prepare(1)
        console.keep_compiled_programs()
        with Lock(Path(command.out)):
            measure(command, tasks, book)
    report.write(Path(command.page), page(known, book))
    print(f"wrote {command.page}")
    return 0


def measure(command: Command, tasks: dict[str, Any], book: "Book") -> None:
    """Adds to the book what it lacks about these tasks."""
    counter = PartCounter("part", 2 * len(tasks))
    interrupt.on_interrupt(
        lambda: (
            f"stopped in {counter.position}; what is measured is kept in {command.out}, and the same command goes on."
        )
    )
    for measurement in (
        measure_chosen,
        measure_default,
    ):  # the chosen settings of all tasks come first
        for name, task in tasks.items():
            counter.begin()
            with Line(name, counter, is_logged=False):
                measurement(command, name, task, book)
            print(name, line(name, task, book), flush=True)


@dataclasses.dataclass
class Book:
    """All that was measured; its two files are whole at any time."""

    folder: Path
    searched: list[Record]  # search.csv: what the settings are chosen from
    measured: list[Record]  # results.csv: what the page shows

    @classmethod
    def read(cls, folder: Path) -> "Book":
        """Returns what the files hold, if they are there."""
        return cls(
            folder,
            *(
                report.read_csv(path) if path.exists() else []
                for path in (folder / "search.csv", folder / "results.csv")
            ),
        )

    def add_search(self, records: list[Record]) -> None:
        """Keeps what one run of the search measured."""
        self.searched = sorted([*self.searched, *records], key=lambda r: r["task"])
        report.write_csv(self.folder / "search.csv", self.searched)

    def add(self, name: str, who: str, seed: int, setting: Setting, success: float) -> None:
        """Keeps a measurement; as soon as there are as many with a new setting as with an old one, the old ones go."""
        self.measured.append(
            {"task": name, "who": who, "seed": seed, **setting._asdict(), "success": float(success)}
        )
        now, old = self.cell(name, who, setting)
        self.measured = [r for r in self.measured if r not in old or len(now) < len(old)]
        self.measured.sort(key=lambda r: (r["task"], list(WHO).index(r["who"])))
        report.write_csv(self.folder / "results.csv", self.measured)

    def cell(
        self, name: str, who: str, setting: Setting | None
    ) -> tuple[list[Record], list[Record]]:
        """Returns what was measured with this setting, and with others."""
        both = select(self.measured, task=name, who=who)
        now = [r for r in both if setting_of(r) == setting]
        return now, [r for r in both if r not in now]

    def missing(self, name: str, who: str, setting: Setting, seeds: int) -> list[int]:
        """Returns the seeds that were not measured with this setting."""
        there = {r["seed"] for r in self.cell(name, who, setting)[0]}
        return [seed for seed in range(seeds) if seed not in there]


def setting_now(name: str, who: str, book: Book) -> Setting | None:
    """Returns the setting that a number should be measured with; None if the search has not found it yet."""
    match who:
        case "random" | "expert":
            return NO_TRAINING
        case "default":
            return newcomer(name)[1]
        case _:
            return task_settings.choose(book.searched, name)


def newcomer(name: str) -> tuple[Run, Setting]:
    """Returns the run of `train grpo <task>` without other flags, and its setting."""
    run = parse(Train, ["grpo", name]).run
    return run, Setting(
        run.warm_start.updates,
        run.warm_start.num_demos,
        run.algorithm.optimizer.learning_rate,
        run.updates,
    )


def measure_chosen(command: Command, name: str, task: Any, book: Book) -> None:
    """Adds what is missing of chance, the expert, the search, and training with the setting that it chooses."""
    for who, actor in PLAYERS.items():
        for seed in book.missing(name, who, NO_TRAINING, command.seeds):
            book.add(name, who, seed, NO_TRAINING, success(task, actor, seed, command.episodes))
    for records in task_settings.search(name, task, book.searched, command.episodes):
        book.add_search(records)
        progress.say(" ".join(map(str, (name, "search", *records[-1].values()))), sys.stdout)
    setting = task_settings.choose(book.searched, name)
    for seed in book.missing(name, "grpo", setting, command.seeds) if setting else []:
        run = task_settings.run(task, setting, seed, command.episodes, eval_every=setting.updates)
        scores = before_and_after(run)
        for who, score in zip(("sft", "grpo"), scores):
            book.add(name, who, seed, setting, score)
        progress.say(" ".join(map(str, (name, *setting, "seed", seed, *scores))), sys.stdout)


def measure_default(command: Command, name: str, task: Any, book: Book) -> None:
    """Adds what is missing of the success that the default flags of `train` lead to."""
    run, setting = newcomer(name)
    sizes = dict(eval_every=run.updates, eval_episodes=command.episodes, seeds=1, devices=1)
    for seed in book.missing(name, "default", setting, command.seeds):
        scores = before_and_after(dataclasses.replace(run, seed=seed, **sizes))
        book.add(name, "default", seed, setting, scores[1])
        progress.say(" ".join(map(str, (name, *setting, "seed", seed, *scores))), sys.stdout)


def before_and_after(run: Run) -> tuple[float, float]:
    """Returns the success behind the warm start and at the end."""
    result = train(run, on_progress=progress.show)
    return result.first["eval_success"][0], result.last["eval_success"][0]


def success(task: Any, actor: Any, seed: int, episodes: int) -> float:
    """Returns how often an actor without a network succeeds on unseen problems."""
    play = jax.jit(
        lambda key: rollout(task, actor, key, jnp.arange(episodes), split="test").success.mean()
    )
    return float(play(jax.random.key(seed)))


def page(tasks: dict[str, type], book: Book) -> str:
    """Returns the notes on all tasks, as markdown."""
    lines = [line(name, cls(), book) for name, cls in sorted(tasks.items())]
    stale = OUTDATED if any(STALE in cell for line in lines for cell in line.values()) else ""
    notes = [note(name, cls) for name, cls in sorted(tasks.items())]
    return "\n".join(
        [
            INTRODUCTION + stale,
            report.markdown(lines),
            falls(book.searched),
            repeats(book.searched),
            *notes,
        ]
    )


def falls(searched: list[Record]) -> str:
    """Returns why GRPO can fall behind its clone, with the success at each rate in the tasks that were searched; else nothing."""
    done = [
        name for name in sorted(distinct(searched, "task")) if task_settings.choose(searched, name)
    ]
    table = (
        report.markdown([ends(name, select(searched, task=name)) for name in done]) if done else ""
    )
    return FALLS.format(length=task_settings.LENGTH, table=table) if done else ""


def repeats(searched: list[Record]) -> str:
    """Returns what cloning a few demonstrations again and again came to, where that was tried; else nothing."""
    tried = [
        name
        for name in sorted(distinct(searched, "task"))
        if select(searched, task=name, num_demos=task_settings.FEW, updates=0)
    ]
    table = (
        report.markdown([clones(select(searched, updates=0, task=name)) for name in tried])
        if tried
        else ""
    )
    return REPEATS.format(few=task_settings.FEW, table=table) if tried else ""


def clones(searched: list[Record]) -> Record:
    """Returns a task's mean success over the held-out seeds, and after how many updates, for each number of demonstrations."""
    found = {"task": searched[0]["task"]}
    for num_demos, words in ((0, "fresh"), (task_settings.FEW, f"{task_settings.FEW} repeated")):
        last = [
            select(searched, seed=seed, num_demos=num_demos)[-1]
            for seed in distinct(select(searched, num_demos=num_demos), "seed")
        ]
        updates = max(r["warm_updates"] for r in last)
        found |= {words: f"{np.mean([r['success'] for r in last]):.3f} after {updates} updates"}
    return found


def ends(name: str, searched: list[Record]) -> Record:
    """Returns a task's mean success over the held-out seeds: where cloning stopped, and at the end of GRPO at each rate."""
    num_demos = task_settings.start(searched).num_demos
    clones = [
        select(searched, seed=seed, num_demos=num_demos, updates=0)[-1]
        for seed in task_settings.HELD_OUT
    ]
    trained = {
        rate: select(searched, learning_rate=rate, updates=task_settings.LENGTH)
        for rate in task_settings.RATES
    }
    found = {"clone": clones} | {
        f"GRPO at {words_of_rate(rate)}": records for rate, records in trained.items()
    }
    return {"task": name} | {
        what: f"{np.mean([r['success'] for r in records]):.3f}" for what, records in found.items()
    }


def line(name: str, task: Any, book: Book) -> Record:
    """Returns a task's line of the table."""
    spec = task.spec
    shape = f"{spec.prompt_length} + {spec.num_turns} x ({spec.observation_length} + {spec.action_length})"
    shown = {who: cell_to_show(name, who, book) for who in WHO}
    trained = shown["grpo"][0]
    cells = {
        WHO[who]: interval([r["success"] for r in records]) + mark if records else "–"
        for who, (records, mark) in shown.items()
    }
    return {
        "task": f"[{name}](#{name})",
        "tokens": shape,
        "setting": words(setting_of(trained[0])) if trained else "–",
    } | cells


def cell_to_show(name: str, who: str, book: Book) -> tuple[list[Record], str]:
    """Returns the records of a cell and its mark: those of today's setting, or older ones, marked, while these are more."""
    now, old = book.cell(name, who, setting_now(name, who, book))
    return (old, f" {STALE}") if len(old) > len(now) else (now, "")


def words(setting: Setting) -> str:
    """Returns a setting in words.

    >>> words(Setting(40, 0, 3e-4, 60))
    '40, then 60 at 3e-4'
    """
    demos = f" of {setting.num_demos} demonstrations" * (setting.num_demos > 0)
    return f"{setting.warm_updates}{demos}, then {setting.updates} at {words_of_rate(setting.learning_rate)}"


def words_of_rate(rate: float) -> str:
    """Returns a learning rate as it is typed.

    >>> words_of_rate(0.0003)
    '3e-4'
    """
    return f"{rate:.0e}".replace("e-0", "e-")


def note(name: str, cls: type) -> str:
    """What a task isolates, an episode, its rules and its knobs."""
    module = inspect.getmodule(cls)
    about, rules = (
        text.partition(">>>")[0].strip() for text in (module.__doc__, inspect.getdoc(cls))
    )
    spec = cls().spec
    tokens = f"{spec.context_length} tokens: {spec.prompt_length} of prompt, then {spec.num_turns} turn{'s' * (spec.num_turns > 1)} of"
    tokens += f" {spec.observation_length} observed and up to {spec.action_length} written."
    knobs = report.markdown(fields(cls)) if dataclasses.fields(cls) else ""
    return f"## {name}\n\n{about}\n\n```\n{episodes(module, cls)}```\n\n{rules}\n\n{tokens}\n\n{knobs}\n"


def episodes(module: ModuleType, cls: type) -> str:
    """The task's literal episodes, from the docstrings of its module and its own."""
    examples = [
        e
        for text in (module.__doc__, cls.__doc__)
        for e in doctest.DocTestParser().get_examples(text)
    ]
    return "\n".join(e.want for e in examples if e.want and f"{cls.__name__}(" in e.source)


def fields(cls: type) -> list[Record]:
    """Returns a task's knobs: name, default, and the comment above the field or behind it."""
    source = inspect.getsource(cls)
    found = {}
    for field in dataclasses.fields(cls):
        line = re.search(
            rf"^((?:    # .*\n)*)    {field.name}: .*?(?:  # (.*))?$", source, re.MULTILINE
        )
        above = " ".join(re.findall(r"# (.*)", line.group(1))) if line else ""
        default = (
            f"{len(field.default)} pairs" if isinstance(field.default, tuple) else field.default
        )
        found[field.name] = {
            "knob": f"`{field.name}`",
            "default": default,
            "": above or (line and line.group(2)) or "",
        }
    return list(found.values())


if __name__ == "__main__":
    console.main(main)
