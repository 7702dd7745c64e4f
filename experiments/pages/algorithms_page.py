"""Measures how algorithms that papers and frameworks call by one name differ on the same episodes.

    python -m experiments.pages.algorithms_page     # one batch (minutes), writes docs/algorithms.md
    python -m experiments.pages.algorithms_page --task graph_nav    # on another task
    python -m experiments.pages.algorithms_page --no-measure        # only writes the page again

A policy is cloned and then trained by PPO for some updates. So it succeeds sometimes, has a critic,
and has left the policy that KL is measured from. It plays one batch. On this batch every algorithm
and preset whose actor is the learner gets its own values (a critic's, forks', a greedy episode's),
its credit, and the gradient of its loss without the critic's part. The gradient is measured once
more after a step along that of `grpo`, where ratios are no longer 1. Problems that a selection
would draw again are only left out.
"""

import dataclasses
import inspect
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp

from agentic_rl import algorithms, credit, envs, optimizer, parallel
from agentic_rl.algorithms import Algorithm
from agentic_rl.config import check, checked, named, snake_case
from agentic_rl.config.ranges import Count, Natural, Positive, Seed
from agentic_rl.losses.kl import ReferenceKL
from agentic_rl.optimizer import Adam
from agentic_rl.policy.transformer import Policy
from agentic_rl.presets import PRESETS, TABLE
from agentic_rl.rng_streams import VALUES
from agentic_rl.rollout.actors import Learner
from agentic_rl.training import experience, gradients, learner, update_metrics
from agentic_rl.training.batch import make_batch
from agentic_rl.training.run import Run, WarmStart
from agentic_rl.training.train import train
from agentic_rl.values import ValueContext
from agentic_rl.values.exact import Exact
from agentic_rl.values.forks import Forks
from experiments.cli import console
from experiments.cli.flags import from_flags, look_up
from experiments.cli.progress import Line
from experiments.cli.tables import print_table
from experiments.reports import report
from experiments.reports.stats import Record

BASE = algorithms.GRPO
# Fields in which variants are not compared.
SIZES = {"problems", "attempts", "epochs", "minibatches", "refresh", "optimizer", "actor"}
COLUMNS = {  # title: column
    "credit mean": "credit_mean",
    "std": "credit_std",
    "norm": "norm",
    "cosine": "cosine",
    "norm after": "moved_norm",
    "cosine after": "moved_cosine",
}
INTRODUCTION = """# Algorithms

Written by `python -m experiments.pages.algorithms_page` from the code and from what it measured.

An algorithm says who acts, whose labels are trained on, which values and what credit are used,
and how tokens make a loss. The algorithms of `agentic_rl/algorithms.py` are the plain forms. A
preset of `agentic_rl/presets.py` is an algorithm as a paper states it or as a public framework
computes it. Both are names for the command line (`python -m experiments.train grpo-verl
chain_pit`), and every part can be swapped there (`--credit`, `--surrogate`, `--values`,
`--reward`, `--selection`, `--kl`).

## Families of credit
"""
FIELDS = """
## Field by field

The table shows where an algorithm or preset differs from `grpo`, the first line. A blank means the
same as there. Of a part only the fields that are not at their default are named. The numbers of
problems, attempts, epochs and minibatches are not compared.
"""
MEASURED = """## Measured

`{command}`: one batch of {episodes} episodes of `{task}` ({success:.2f} succeed), {weights:,}
weights. The table shows the mean and standard deviation of credit over trained tokens, and the norm
of the gradient and its cosine with that of `grpo`. Both are measured at the policy that acted, and
after one step along the gradient of `grpo` that changes a token's log-probability by {gap:.3f} on
average. A critic's own loss is left out. This is one batch only: variants that agree here in all
digits may differ on another, where a clip is active or an episode too long.
"""


@checked
class Command:
    """Measure all algorithms and presets on one batch, and write docs/algorithms.md."""

    task: str = "tool_chase"  # the task of the batch that all are compared on
    measure: bool = True  # --no-measure: only write the page
    warm_updates: Natural = 130  # of cloning fresh demonstrations
    updates: Count = 20  # of PPO after it
    step: Positive = 0.001  # learning rate of the one step along grpo's gradient (Adam)
    seed: Seed = 0  # decides weights and episodes
    out: str = "results/algorithms"  # folder of the numbers
    page: str = "docs/algorithms.md"  # the page to write


def main(arguments: list[str]) -> int:
    command = from_flags(Command, Command(), arguments)
    console.check_checkout(command.out, command.page)
    path = Path(command.out) / "results.csv"
    task = look_up("task", command.task, named(envs))()
    if command.measure:
        parallel.prepare(1)
        console.keep_compiled_programs()
        report.write_csv(path, measure(command, task))
    check(path.exists(), f"There are no results in {command.out}; leave out --no-measure.")
    results = report.read_csv(path)
    print_table([line(record) for record in results], "on the same episodes")
    for name, algorithm in variants().items():
        print(f"{name}: {'; '.join(differences(algorithm)) or 'as grpo'}")
    report.write(Path(command.page), page(results))
    print(f"wrote {command.page}")
    return 0


def variants() -> dict[str, Algorithm]:
    """Returns the algorithms and presets in which the policy acts, grpo first.

    The oracle is left out, since its values need a task that can be solved exactly.
    """
    every = {"grpo": BASE} | algorithms.by_name() | PRESETS
    return {
        name: algorithm
        for name, algorithm in every.items()
        if isinstance(algorithm.actor, Learner) and not isinstance(algorithm.values, Exact)
    }


def measure(command: Command, task: Any) -> list[Record]:
    """Returns a record per variant, all on the batch that one policy played."""
    policy_config, weights = warm(command, task)
    key, problem = jax.random.key(command.seed), jnp.arange(BASE.problems)
    facts = dict(
        task=command.task,
        seed=command.seed,
        weights=sum(x.size for x in jax.tree.leaves(weights.learner)),
    )
    trajectory = on_one_device(play, policy_config, task)(weights, key, problem)
    facts |= dict(episodes=trajectory.success.size, success=float(trajectory.success.mean()))

    def gradients(algorithm, points):
        program = on_one_device(slopes, learner.setup(policy_config, algorithm, 1, 0), task)
        return program(without_critic_loss(algorithm), weights, points, trajectory, key, problem)

    start = jax.tree.map(lambda x: x[None], weights.learner)
    slope = jax.tree.map(lambda x: x[0], gradients(BASE, start)[1])
    moved = step(weights.learner, slope, command.step)
    points = jax.tree.map(lambda *x: jnp.stack(x), weights.learner, moved)
    records, base = [], None
    for name, algorithm in variants().items():
        log, slope, loss = gradients(algorithm, points)
        if base is None:
            base, facts["gap"] = slope, float(loss["log_prob_gap"][1])
        credit = {k: float(log[k]) for k in ("credit_mean", "credit_std")}
        records.append({"variant": name} | credit | compare_gradients(slope, base) | facts)
        print(", ".join(map(str, line(records[-1]).values())), flush=True)
    return records


def warm(command: Command, task: Any) -> tuple[Policy, experience.Weights]:
    """Trains a policy that succeeds sometimes and has a critic; its reference is its clone."""
    algorithm = dataclasses.replace(
        algorithms.PPO, kl=ReferenceKL(), optimizer=Adam(learning_rate=1e-3)
    )
    start = WarmStart(updates=command.warm_updates, learning_rate=3e-3)
    sizes = dict(updates=command.updates, eval_every=command.updates, seed=command.seed, devices=1)
    run = Run(task, algorithm, Policy(width=32, heads=2, mlp=64), warm_start=start, **sizes)
    with Line(command.task) as shown:
        state = train(run, on_progress=shown).state
    params, reference = (
        jax.tree.map(lambda x: jnp.asarray(x)[0], tree) for tree in (state.params, state.reference)
    )
    return run.policy, experience.Weights(params, params, reference)


def on_one_device(f: Any, *fixed: Any) -> Any:
    """Returns `f` with its first arguments fixed, compiled for one device."""
    return parallel.launch(lambda *inputs: f(*fixed, *inputs), parallel.choose(1), "pmap")


def play(policy_config: Policy, task: Any, weights: experience.Weights, key, problem):
    """Plays one batch of the base's size, with everything that any variant needs.

    These are the task's states and the reference's log-probabilities.
    """
    needs_all = dataclasses.replace(BASE, values=Forks(), kl=ReferenceKL())
    return experience.collect(task, policy_config, needs_all, weights, key, problem, len(problem))[
        0
    ]


def slopes(
    setup: learner.Setup,
    task: Any,
    algorithm: Algorithm,
    weights: experience.Weights,
    points,
    trajectory,
    key,
    problem,
):
    """Returns metrics of the credit, and the loss's gradient and diagnostics at `points`."""
    context = ValueContext(
        task, setup.policy_config, weights.learner, problem, jax.random.fold_in(key, VALUES)
    )
    credited = algorithm.reward(trajectory)
    value, _ = algorithm.values(context, credited)
    kept = algorithm.selection(trajectory)
    batch = make_batch(
        algorithm, credited._replace(mask=credited.mask & kept[..., None, None]), value
    )
    log = update_metrics.credit_metrics(algorithm, batch, value, credited)
    return log, *jax.lax.map(
        lambda params: gradients.gradient(setup, [task.spec], algorithm, params, [batch]), points
    )


def without_critic_loss(algorithm: Algorithm) -> Algorithm:
    """Returns the algorithm with a critic that is not trained, if it has one."""
    if not algorithm.values.learned:
        return algorithm
    return dataclasses.replace(
        algorithm, values=dataclasses.replace(algorithm.values, coefficient=0.0)
    )


def step(params: Any, slope: Any, rate: float) -> Any:
    """Returns the weights after one step of Adam along this gradient."""
    adam = Adam(learning_rate=rate, warmup=1)
    return optimizer.step(adam, slope, optimizer.init(adam, params), params, jnp.int32(0), 1)[0]


def compare_gradients(slope: Any, base: Any) -> Record:
    """Returns the norm of the gradient and its cosine with the base's, at both points."""

    def dot(a, b):
        return sum(
            (x * y).sum(tuple(range(1, x.ndim)))
            for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b))
        )

    norm, other = dot(slope, slope) ** 0.5, dot(base, base) ** 0.5
    cosine = dot(slope, base) / jnp.maximum(norm * other, 1e-12)
    return {
        "norm": float(norm[0]),
        "cosine": float(cosine[0]),
        "moved_norm": float(norm[1]),
        "moved_cosine": float(cosine[1]),
    }


def line(record: Record) -> Record:
    """Returns a variant's line of the table."""
    return {"": record["variant"]} | {
        name: f"{record[column]:.3f}" for name, column in COLUMNS.items()
    }


def describe_part(part: Any) -> str:
    """Returns a part's name, with its fields that are not at their default.

    >>> describe_part(algorithms.DAPO.surrogate)
    'clipped_ratio(clip_high=0.28)'
    """
    if not dataclasses.is_dataclass(part):
        return str(part)
    changed = [
        f"{f.name}={getattr(part, f.name)}"
        for f in dataclasses.fields(part)
        if getattr(part, f.name) != f.default
    ]
    return snake_case(type(part).__name__) + (f"({', '.join(changed)})" if changed else "")


def cells(algorithm: Algorithm, base: Algorithm = BASE) -> dict[str, str]:
    """Returns each field in which the algorithm differs from the base, described; no sizes."""
    names = [f.name for f in dataclasses.fields(algorithm) if f.name not in SIZES]
    return {
        name: describe_part(getattr(algorithm, name))
        for name in names
        if getattr(algorithm, name) != getattr(base, name)
    }


def differences(algorithm: Algorithm, base: Algorithm = BASE) -> list[str]:
    """Returns the differences in words: the fields of parts of one type, else the parts.

    >>> differences(PRESETS["grpo-trl"]), differences(PRESETS["dr-grpo-verl"])[0]
    (['aggregation token_mean, not sequence_mean'], 'credit centred, not group_relative')
    """
    texts = []
    for name, cell in cells(algorithm, base).items():
        part, other = getattr(algorithm, name), getattr(base, name)
        if not (dataclasses.is_dataclass(part) and type(part) is type(other)):
            texts.append(f"{name} {cell}, not {describe_part(other)}")
            continue
        for field in dataclasses.fields(part):
            mine, its = getattr(part, field.name), getattr(other, field.name)
            if mine != its:
                texts.append(f"{name}.{field.name} {mine}, not {its}")
    return texts


def page(results: list[Record]) -> str:
    """Returns the page as Markdown."""
    abouts = "\n".join(f"- `{name}`: {preset.about}" for name, preset in TABLE.items())
    tables = (families(), matrix(), [line(record) for record in results])
    credits, fields, numbers = map(report.markdown, tables)
    measured = MEASURED.format(**results[0], command=command_of(results[0]))
    return "\n".join(
        [INTRODUCTION, credits, "\n## Presets\n", abouts, FIELDS, fields, "", measured, numbers, ""]
    )


def command_of(record: Record) -> str:
    """Returns the command that made the results."""
    command = "python -m experiments.pages.algorithms_page"
    return command if record["task"] == Command.task else f"{command} --task {record['task']}"


def families() -> list[Record]:
    """Returns the credits by their module, each with the first sentence of its docstring."""
    modules = {}
    for name, cls in named(credit).items():
        about = " ".join(inspect.getdoc(cls).split("\n\n")[0].split())
        modules.setdefault(cls.__module__, []).append({"credit": f"`{name}`", "": about})
    table = []
    for module in sorted(modules):
        for i, line in enumerate(modules[module]):
            family = "" if i else f"`{module.rpartition('.')[2]}`"
            table.append({"family": family} | line)
    return table


def matrix() -> list[Record]:
    """Returns the table of all variants, field by field."""
    each = {name: cells(algorithm) for name, algorithm in variants().items()}
    columns = [
        f.name for f in dataclasses.fields(Algorithm) if any(f.name in x for x in each.values())
    ]
    table = [{"": "grpo"} | {column: describe_part(getattr(BASE, column)) for column in columns}]
    for name, cell in each.items():
        if name != "grpo":
            table.append({"": name} | {column: cell.get(column, "") for column in columns})
    return table


if __name__ == "__main__":
    console.main(main)
