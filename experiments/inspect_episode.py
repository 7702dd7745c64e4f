"""Show one episode of a run token by token: `python -m experiments.inspect_episode RUN_DIR`.

    python -m experiments.inspect_episode runs/ppo-key_door
    python -m experiments.inspect_episode runs/ppo-key_door --problem 3 --episode 2 --html page.html

The newest weights of the run's first seed play a group of attempts at one problem of the test
split. Reward, value and credit of each token are computed as in training, beside the true
advantage. Attempt 0 at problem P is episode P of `experiments.watch --policy RUN_DIR`.
"""

import sys
from pathlib import Path
from typing import Annotated, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import tyro
from jaxtyping import Array, Bool, Float
from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from agentic_rl import algorithms, tokens
from agentic_rl.algorithms import Algorithm
from agentic_rl.config import check, checked
from agentic_rl.config.ranges import Count, Natural, NonNegative, Seed, Several
from agentic_rl.credit.returns import token_rewards
from agentic_rl.exact.true_advantage import Truth, true_advantage
from agentic_rl.policy import transformer
from agentic_rl.policy.episode_pass import read_episodes
from agentic_rl.policy.sampler import Sampler
from agentic_rl.rng_streams import VALUES
from agentic_rl.rollout.rollout import rollout
from agentic_rl.training.batch import make_batch
from agentic_rl.training.run import Run, load
from agentic_rl.types import Environment, Trajectory, parts
from agentic_rl.values import ValueContext
from experiments.cli import console, shell
from experiments.cli.flags import from_flags
from experiments.reports import report
from experiments.reports.display_names import quantity
from experiments.reports.episode_notes import describe_episode, notes
from experiments.reports.episode_page import (
    Measures,
    format_signed,
    largest,
    page,
    shade,
    strips,
    token_positions,
)


@checked
class Command:
    """Show one episode token by token: reward, value, the run's own credit, true advantage."""

    # as `train` printed it
    run_dir: Annotated[tyro.conf.Positional[str], tyro.conf.arg(metavar="RUN_DIR")]
    episode: Natural = 0  # which of the attempts
    problem: Seed = 0  # which problem of the test split
    seed: Seed = 0  # of the problems and the actions
    attempts: Count = 8  # episodes at the problem, which credits may compare
    temperature: NonNegative = 1.0  # of the episodes; 1: as trained, 0: greedy
    forks: Several = 1024  # episodes from each turn on, where the truth cannot be enumerated
    part: str = ""  # of a mixture: which of its tasks
    html: str = ""  # a file to write the page to

    def __post_init__(self):
        check(
            self.episode < self.attempts,
            f"--episode is 0 to {self.attempts - 1}, one of the --attempts, not {self.episode}.",
        )
        check(
            not self.html or not Path(self.html).is_dir(),
            f"--html names a file, and {self.html} is a folder.",
        )


class Group(NamedTuple):
    """The attempts at one problem, with the numbers that the run computes of them."""

    trajectory: Trajectory  # [1, G, ...]
    reward: Float[Array, "1 G T A"]  # that is credited
    value: Float[Array, "1 G T A"]  # before each token, by the run's value source
    credit: Float[Array, "1 G T A"]
    kept: Bool[Array, "1 G"]  # would it be trained on?


def main(arguments: list[str]) -> int:
    check(bool(arguments), "Name the directory of a run, such as runs/ppo-key_door.")
    command = from_flags(Command, Command(tyro.MISSING), arguments)
    run, state = load(command.run_dir)
    task = find_task(run, command.part)
    algorithm = with_own_actions(run.algorithm, command.attempts)
    console.keep_compiled_programs()
    weights = state.params, state.reference
    params, reference = jax.tree.map(lambda x: x[0], weights)
    with Console(stderr=True).status("playing, crediting, and asking for the truth ..."):
        group = play(task, run.policy, algorithm, params, reference, command)
        chosen = jax.tree.map(lambda x: x[:, command.episode : command.episode + 1], group)
        truth = true_advantage(task, run.policy, params, chosen.trajectory, forks=command.forks)
    episode = jax.tree.map(lambda x: jax.device_get(x)[0, 0], chosen.trajectory)
    measures = measure_tokens(algorithm, chosen, truth)
    errors = {"true advantage": np.asarray(truth.error[0, 0])}
    updates = quantity(int(state.step[0]), "update")
    title = f"{Path(command.run_dir).resolve().name} after {updates}"
    lines = [
        describe_episode(task, group.trajectory, command.problem, command.episode),
        *notes(
            run.algorithm, truth, bool(chosen.kept.all()), command.attempts, command.temperature
        ),
    ]
    show(title, table(task, episode, measures, errors), lines)
    if command.html:
        lines += [f"Written by {shell.command('inspect_episode', *arguments)}"]
        text = page(title, lines, strips(task, episode, measures, errors))
        report.write(Path(command.html), text)
        print(f"wrote {command.html}")
    return 0


def find_task(run: Run, part: str) -> Environment:
    """Returns the run's task, or the part of a mixture that --part names."""
    known = parts(run.task)
    choices = f"one of: {', '.join(known)}"
    if "" in known:
        choices = "this run has a single task, so leave it out"
    check(part in known, f"--part names a task of a mixture, not {part or 'nothing'}; {choices}.")
    return known[part]


def with_own_actions(algorithm: Algorithm, attempts: int) -> Algorithm:
    """Returns the algorithm, changed so that it credits the policy's own actions.

    Raises: ConfigError if it compares more attempts at a problem than there are.
    """
    for part in (algorithm.credit, algorithm.selection):
        check(
            attempts >= part.min_attempts,
            f"{type(part).__name__} compares attempts at the same problem: set --attempts to "
            f"{part.min_attempts} or more, not {attempts}.",
        )
    return algorithms.swap(algorithm, labels="own")


def play(
    task: Environment,
    policy_config: transformer.Policy,
    algorithm: Algorithm,
    params: transformer.Params,
    reference: transformer.Params | tuple | None,
    command: Command,
) -> Group:
    """Returns the attempts at the problem, with rewards, values and credit as in training."""
    key, problem = jax.random.key(command.seed), jnp.array([command.problem])

    def program(params, reference):
        sampler = Sampler(policy_config, params, command.temperature)
        trajectory = rollout(
            task, sampler, key, problem, command.attempts, "test", keep_states=True
        )
        scored = trajectory
        if algorithm.reward.reads_reference:
            theirs, _ = read_episodes(policy_config, reference, task.spec, trajectory)
            scored = trajectory._replace(reference_log_prob=theirs)
        credited = algorithm.reward(scored)
        value_key = jax.random.fold_in(key, VALUES)
        context = ValueContext(task, policy_config, params, problem, value_key)
        value, _ = algorithm.values(context, credited)
        kept = algorithm.selection(scored)
        batch = make_batch(algorithm, credited, value, kept)
        credit = batch.credit.reshape(trajectory.mask.shape)
        return Group(trajectory, token_rewards(credited), value.before, credit, kept)

    return jax.jit(program)(params, reference)


def measure_tokens(algorithm: Algorithm, chosen: Group, truth: Truth) -> Measures:
    """Returns the numbers of each token of `chosen`, which has a single episode."""
    measures = {"reward": chosen.reward, "credit": chosen.credit, "true advantage": truth.advantage}
    if algorithm.values.has_values:
        measures["value"] = chosen.value
    measures["true value"] = truth.value.before
    return {name: np.asarray(x[0, 0]) for name, x in measures.items()}


def table(task: Environment, episode: Trajectory, measures: Measures, errors: Measures) -> Table:
    """Returns a table with a line for each of the episode's [T, A] tokens."""
    grid = Table("turn", "read -> done", "token", box=box.SIMPLE_HEAD)
    for name in measures:
        grid.add_column(name, justify="right")
    most = {name: largest(x, episode) for name, x in measures.items()}
    for t, a in token_positions(episode):
        turn = "", ""
        if a == 0:
            turn = str(t + 1), task.render_turn(episode.observation[t], episode.action[t])
        numbers = []
        for name, x in measures.items():
            error = errors[name][t, a] if name in errors else 0.0
            colour = f"black on {shade(x[t, a], most[name])}" if x[t, a] else ""
            numbers.append(Text(format_signed(x[t, a], error), colour))
        grid.add_row(*map(Text, (*turn, tokens.text([episode.action[t, a]]))), *numbers)
    return grid


def show(title: str, grid: Table, lines: list[str]) -> None:
    """Prints the table and the lines; where there is no terminal, no line is broken."""
    screen = Console(width=None if sys.stdout.isatty() else 1000, highlight=False)
    screen.print(Text(title, "bold"), Text(lines[0]), grid, sep="\n")
    for line in lines[1:]:
        screen.print(Text(line))


if __name__ == "__main__":
    console.main(main)
