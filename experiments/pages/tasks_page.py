"""Shows how hard each task is for chance, its expert, supervised learning, and RL after that.

    python -m experiments.pages.tasks_page                        # writes docs/tasks.md
    python -m experiments.pages.tasks_page --measure points,todo  # measures these tasks before
    python -m experiments.pages.tasks_page --measure all

The page shows the tasks' own docstrings and success on unseen problems at default knobs, with
sampled actions: of uniformly random actions, of the expert, of a policy that cloned demonstrations
(SFT), of the same policy after GRPO, and of `python -m experiments.train grpo <task>` without other
flags. `task_settings` chooses how long a policy clones, and how long and at which rate GRPO trains
it, for each task on held-out seeds. After an interrupt the same command continues.
"""

from pathlib import Path
from typing import Annotated, Any

import numpy as np

from agentic_rl import envs, parallel
from agentic_rl.config import checked, named
from agentic_rl.config.ranges import Count, Range
from agentic_rl.records.lock import Lock
from experiments.cli import console, interrupt
from experiments.cli.flags import from_flags, look_up
from experiments.cli.part_counter import PartCounter
from experiments.cli.progress import Line
from experiments.pages import task_settings
from experiments.pages.task_book import WHO, Book
from experiments.pages.task_notes import note
from experiments.pages.task_settings import Setting, setting_of
from experiments.pages.task_success import measure_chosen, measure_default, setting_now
from experiments.reports import report
from experiments.reports.stats import Record, distinct, interval, select

STALE = "†"
INTRODUCTION = """# Tasks

Written by `python -m experiments.pages.tasks_page` from the tasks' docstrings and from what
`python -m experiments.pages.tasks_page --measure all` measured: success at default knobs, on unseen
problems, with sampled actions. Numbers are means over seeds 0 to 4 with Student's 95% interval. The
policy has 135,553 weights and reads the whole episode so far (history context), as in
`python -m experiments.train`.

- *SFT*: the policy after cloning so many batches of 256 fresh demonstrations. Cloning stops on
  purpose once the policy succeeds in half of its episodes, or after 240 updates. So GRPO finds
  rewards and has something left to teach. If fresh demonstrations never bring the policy there,
  cloning the same 48 demonstrations again and again is tried as well.
- *SFT, then GRPO*: the same policy after so many updates of GRPO on 256 episodes each, at the rate
  given.
- *`train grpo`*: the policy after `python -m experiments.train grpo <task>` without other flags,
  which are 30 updates of cloning 48 demonstrations and 200 of GRPO at 3e-4.

Both lengths and the rate were chosen for each task on the held-out seeds 1000 and 1001, by the rule
in `experiments/pages/task_settings.py` ([everything that was tried](../results/tasks/search.csv)).
A dash means that a number was not measured yet. No number is for comparing methods, since only GRPO
was tuned.
"""
FALLS = """
## Why GRPO can end below its clone

A clone that hardly ever fails gives GRPO hardly any gradient, and Adam makes steps of full size of
the little that is left. So one failed episode can undo what cloning taught. How far a policy falls
depends on the learning rate. The table shows the mean success of the held-out seeds when cloning
stopped, and after {length} updates of GRPO from the same clones:

{table}

One run shows how ([its updates](../results/tasks/one_failure.csv)):

    python -m experiments.train grpo two_prompt --seed 4 --devices 1 --updates 60 \\
        --warm-start.updates 60 --warm-start.num-demos 0

Cloning ends at 1.000, and for 23 updates no group has a gradient. In update 24 one episode of 256
fails, so one group of 32 has a gradient; its norm is .25 (the clip is at .5). In the next updates
the gradient is exactly 0 again, but Adam's momentum goes on in the direction of that failure.
Sampled success is 1.000 in update 25, .625 in 26 and .406 in 27. From then on one of the two
prompts is always answered wrongly. Its groups are as uniform as before, so GRPO has nothing to
compare, and success stays at .56. Neither entropy nor the ratio's clip shows or prevents the fall:
the entropy is .04 at most on the way, and the clip cuts off nothing.

`memorize` falls in the same way. From clones at 1.000 (60 updates; seeds 1000 and 1001), 60 updates
of GRPO were tried ([all variants](../results/tasks/falls.csv)):

- At the default rate of 3e-4 success ends at .629 and .727, at 1e-4 at .996 and .998, and at 3e-5
  at 1.000 twice.
- With Adam's `eps` at 1e-2, so that a small gradient moves little, it ends at 1.000 and .996.
- Without momentum (`b1` 0) both seeds end at 0.
- Under Dr. GRPO, which does not divide by a group's deviation, it ends at .795 and .533.

So it is Adam that makes rare gradients large.
"""
REPEATS = """
## Where a few demonstrations teach more than fresh ones

If cloning 256 fresh demonstrations in every update did not teach the task, cloning the same {few}
again and again was tried, with as many demonstrations per update. The table shows the success on
unseen problems at the end of each, a mean over the held-out seeds. Charton & Kempe (2410.07041)
saw the same on arithmetic.

{table}
"""
OUTDATED = f"""
{STALE} Not measured with the setting that the search chooses now, or measured before there was one.
`--measure` with the task's name measures it again.
"""


@checked
class Command:
    """Write docs/tasks.md, and measure before if asked."""

    measure: str = ""  # names of tasks, separated by commas; all: every task
    seeds: Annotated[int, Range(2, why="for intervals")] = 5  # seeds 0, 1, ... of each task
    episodes: Count = 1024  # for every number and seed
    out: str = "results/tasks"  # folder of the numbers
    page: str = "docs/tasks.md"  # the page to write


def main(arguments: list[str]) -> int:
    command, known = from_flags(Command, Command(), arguments), named(envs)
    console.check_checkout(command.out, command.page)
    chosen = [name for name in command.measure.split(",") if name]
    if command.measure == "all":
        chosen = sorted(known)
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


def measure(command: Command, tasks: dict[str, Any], book: Book) -> None:
    """Adds to the book what it lacks about these tasks, the chosen settings of all tasks first."""
    counter = PartCounter("part", 2 * len(tasks))

    def describe_stop() -> str:
        kept = f"what is measured is kept in {command.out}"
        return f"stopped in {counter.position}; {kept}, and the same command goes on."

    interrupt.on_interrupt(describe_stop)
    for measure_one in (measure_chosen, measure_default):
        for name, task in tasks.items():
            counter.begin()
            with Line(name, counter, is_logged=False):
                measure_one(name, task, book, command.seeds, command.episodes)
            print(name, line(name, task, book), flush=True)


def page(tasks: dict[str, type], book: Book) -> str:
    """Returns the page as Markdown."""
    lines = [line(name, cls(), book) for name, cls in sorted(tasks.items())]
    is_stale = any(STALE in cell for line in lines for cell in line.values())
    introduction = INTRODUCTION + OUTDATED * is_stale
    notes = [note(name, cls) for name, cls in sorted(tasks.items())]
    parts = [introduction, report.markdown(lines), falls(book.searched), repeats(book.searched)]
    return "\n".join([*parts, *notes])


def falls(searched: list[Record]) -> str:
    """Returns why GRPO can fall behind its clone, with the searched tasks' success at each rate.

    It is empty if no task was searched.
    """
    names = sorted(distinct(searched, "task"))
    done = [name for name in names if task_settings.choose(searched, name)]
    if not done:
        return ""
    table = report.markdown([ends(name, select(searched, task=name)) for name in done])
    return FALLS.format(length=task_settings.LENGTH, table=table)


def repeats(searched: list[Record]) -> str:
    """Returns how far cloning a few demonstrations again and again came; empty if never tried."""
    few, clones = task_settings.FEW, select(searched, updates=0)
    tried = sorted(distinct(select(clones, num_demos=few), "task"))
    if not tried:
        return ""
    table = report.markdown([compare_clones(select(clones, task=name)) for name in tried])
    return REPEATS.format(few=few, table=table)


def compare_clones(searched: list[Record]) -> Record:
    """Returns a task's mean success over the held-out seeds, with fresh and repeated demos."""
    line = {"task": searched[0]["task"]}
    for num_demos, title in ((0, "fresh"), (task_settings.FEW, f"{task_settings.FEW} repeated")):
        own = select(searched, num_demos=num_demos)
        last = [select(own, seed=seed)[-1] for seed in distinct(own, "seed")]
        updates = max(r["warm_updates"] for r in last)
        line[title] = f"{mean_success(last)} after {updates} updates"
    return line


def mean_success(records: list[Record]) -> str:
    """Returns the mean success of the records, to three decimals."""
    return f"{np.mean([r['success'] for r in records]):.3f}"


def ends(name: str, searched: list[Record]) -> Record:
    """Returns a task's mean success over the held-out seeds: of clones, and of GRPO per rate."""
    num_demos = task_settings.start(searched).num_demos
    clones = [
        select(searched, seed=seed, num_demos=num_demos, updates=0)[-1]
        for seed in task_settings.HELD_OUT
    ]
    line = {"task": name, "clone": mean_success(clones)}
    for rate in task_settings.RATES:
        trained = select(searched, learning_rate=rate, updates=task_settings.LENGTH)
        line[f"GRPO at {words_of_rate(rate)}"] = mean_success(trained)
    return line


def line(name: str, task: Any, book: Book) -> Record:
    """Returns a task's line of the table."""
    spec = task.spec
    turn = f"({spec.observation_length} + {spec.action_length})"
    trained, _ = cell_to_show(name, "grpo", book)
    line = {
        "task": f"[{name}](#{name})",
        "tokens": f"{spec.prompt_length} + {spec.num_turns} x {turn}",
        "setting": words(setting_of(trained[0])) if trained else "–",
    }
    for who, title in WHO.items():
        records, mark = cell_to_show(name, who, book)
        line[title] = interval([r["success"] for r in records]) + mark if records else "–"
    return line


def cell_to_show(name: str, who: str, book: Book) -> tuple[list[Record], str]:
    """Returns the records of a cell and its mark.

    They are those of today's setting, or marked older ones while there are more of these.
    """
    now, old = book.cell(name, who, setting_now(name, who, book))
    return (old, f" {STALE}") if len(old) > len(now) else (now, "")


def words(setting: Setting) -> str:
    """Returns a setting in words.

    >>> words(Setting(40, 0, 3e-4, 60))
    '40, then 60 at 3e-4'
    """
    demos = f" of {setting.num_demos} demonstrations" * (setting.num_demos > 0)
    grpo = f"{setting.updates} at {words_of_rate(setting.learning_rate)}"
    return f"{setting.warm_updates}{demos}, then {grpo}"


def words_of_rate(rate: float) -> str:
    """Returns a learning rate as it is typed.

    >>> words_of_rate(0.0003)
    '3e-4'
    """
    return f"{rate:.0e}".replace("e-0", "e-")


if __name__ == "__main__":
    console.main(main)
