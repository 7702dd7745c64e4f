"""Watch episodes in the terminal: `python -m experiments.watch <task> [flags]`.

    python -m experiments.watch running_sum
    python -m experiments.watch chain_pit --policy random --task.mode drift --episodes 5
    python -m experiments.watch --policy runs/grpo-running_sum
    python -m experiments.watch --policy runs/grpo-running_sum --task.num-turns 16

`--policy RUN_DIR` shows a trained policy, by default on the task that it was trained on. If the
expert would have acted otherwise in a turn, the line says how. `watch <task> --help` lists the
task's flags.
"""

from typing import Any

import jax
from rich.console import Console
from rich.text import Text

from agentic_rl import envs
from agentic_rl.config import check, checked, named
from agentic_rl.config.ranges import Count, Seed
from agentic_rl.policy import layout
from agentic_rl.policy.sampler import Sampler
from agentic_rl.rollout import actors
from agentic_rl.rollout.transcript import episodes
from agentic_rl.training import learner
from agentic_rl.training.run import Run, load
from agentic_rl.types import parts
from experiments.cli import console, shell
from experiments.cli.flags import from_flags, take, task_from

ACTORS = {"expert": actors.Expert(), "random": actors.Random()}


@checked
class Command:
    """Print episodes of this task, on problems of the test split."""

    task: Any  # the task to watch
    policy: str = "expert"  # who acts: expert, random, or the directory of a run (its first seed)
    episodes: Count = 3  # episodes to show
    seed: Seed = 0  # of the problems and the actions


def main(arguments: list[str]) -> int:
    if not arguments or arguments[0] in ("-h", "--help"):
        print(shell.rewrite_commands(__doc__))
        print(f"tasks        {' '.join(sorted(named(envs)))}")
        return 0 if arguments else 2
    policy, arguments = take(arguments, "--policy")
    run, state = (None, None) if policy in (None, *ACTORS) else load(policy)
    command = parse(run, policy or "expert", arguments)
    layout.check_length(command.task.spec)
    console.keep_compiled_programs()
    actor = first_policy(run, state) if run else ACTORS[command.policy]
    show(episodes(command.task, actor, command.seed, command.episodes))
    return 0


def parse(run: Run | None, policy: str, arguments: list[str]) -> Command:
    """Returns the command; without the name of a task, the task is the run's own.

    Raises: ConfigError if there is no single task.
    """
    if arguments and not arguments[0].startswith("-"):
        task, arguments = task_from(arguments)
        check(not isinstance(task, dict), "Watch one task at a time.")
    else:
        check(run is not None, f"Name a task: {', '.join(sorted(named(envs)))}.")
        task = run.task
    check(
        not isinstance(task, dict),
        f"{policy} was trained on a mixture; name one of its tasks: {', '.join(parts(task))}.",
    )
    return from_flags(Command, Command(task, policy), arguments)


def first_policy(run: Run, state: learner.State) -> Sampler:
    """Returns the policy of the run's first seed."""
    return Sampler(run.policy, jax.tree.map(lambda x: jax.device_get(x)[0], state.params))


def show(texts: list[str]) -> None:
    """Prints episodes with an empty line between them, in colour on a terminal."""
    lines = "\n\n".join(texts).splitlines()
    coloured = [Text(line, style(line)) for line in lines]
    Console(highlight=False, soft_wrap=True).print(*coloured, sep="\n")


def style(line: str) -> str:
    """Returns the colour of a line: red where the expert would have acted otherwise.

    >>> style("7 + 3 -> 1   (expert: 0)"), style("7 + 3 -> 0"), style("success, return 1.0")
    ('red', '', 'bold green')
    """
    outcomes = {"success,": "bold green", "failure,": "bold red"}
    return outcomes.get(line.split(" ")[0], "red" if "(expert: " in line else "")


if __name__ == "__main__":
    console.main(main)
