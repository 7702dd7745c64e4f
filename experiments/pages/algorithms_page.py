"""How much do the algorithms that papers and frameworks call by one name differ, on the very same episodes?

    python -m experiments.pages.algorithms_page                     # plays one batch, measures all on it (minutes), writes docs/algorithms.md
    python -m experiments.pages.algorithms_page --task graph_nav    # on another task
    python -m experiments.pages.algorithms_page --no-measure        # only writes the page, from the results there are

A policy is cloned and then trained by PPO for some updates, so that it succeeds sometimes, has a critic, and has left the policy
that KL is measured from. It plays one batch. On this batch every row and preset whose actor is the learner gets its own values
(a critic's, forks', a greedy episode's), its credit and the gradient of its loss, the critic's part left out; the gradient once
more after a step along that of row `grpo`, where ratios are no longer 1. What a selection would draw again is only left out.
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
from agentic_rl.training import experience, learner
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
SIZES = {
    "problems",
    "attempts",
    "epochs",
    "minibatches",
    "refresh",
    "optimizer",
    "actor",
}  # in which presets do not differ
COLUMNS = {
    "credit mean": "credit_mean", "std": "credit_std", "norm": "norm", "cosine": "cosine", "norm after": "moved_norm",
    "cosine after": "moved_cosine",
}  # fmt: skip
INTRODUCTION = """# Algorithms

Written by `python -m experiments.pages.algorithms_page` from the code and from what it measured.

An algorithm is a row: who acts, whose labels, which values, what credit, which surrogate, and from tokens to a loss. The rows of
`agentic_rl/algorithms.py` are the plain forms; a preset of `agentic_rl/presets.py` is a row as a paper states it or as a public
framework computes it. Both are names for the command line (`python -m experiments.train grpo-verl chain_pit`), and every part can be
swapped there (`--credit`, `--surrogate`, `--values`, `--reward`, `--selection`, `--kl`).

## Families of credit
"""
FIELDS = """
## Field by field

Where a row or preset differs from row `grpo`, which is the first line. A blank is the same as there; of a part only the fields that
are not its defaults are named. How many problems, attempts, epochs and minibatches there are is not compared.
"""
MEASURED = """## Measured

`{command}`: one batch of {episodes} episodes of `{task}` ({success:.2f} succeed), {weights:,} weights. Mean and standard deviation of
credit over trained tokens; norm of the gradient and its cosine with row `grpo`'s, at the policy that acted, and after one step along
row `grpo`'s gradient that changes a token's log-probability by {gap:.3f} on average. A critic's own loss is left out. It is one batch:
what agrees in all digits may part on another, where a clip is active or an episode too long.
"""


@checked
class Command:
    """Measure all rows and presets on one batch, and write docs/algorithms.md."""

    task: str = "tool_chase"
    measure: bool = True  # --no-measure: only write the page
    warm_updates: Natural = 130  # of cloning fresh demonstrations
    updates: Count = 20  # of PPO after it
    step: Positive = 0.001  # learning rate of the one step along grpo's gradient (Adam)
    seed: Seed = 0
    out: str = "results/algorithms"
    page: str = "docs/algorithms.md"


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
        print(f"{name}: {'; '.join(differences(algorithm)) or 'as row grpo'}")
    report.write(Path(command.page), page(results))
    print(f"wrote {command.page}")
    return 0


def variants() -> dict[str, Algorithm]:
    """Rows and presets in which the policy acts and whose values can be had anywhere (unlike the oracle's), row grpo first."""
    found = {"grpo": BASE} | algorithms.by_name() | PRESETS
    return {
        name: algorithm
        for name, algorithm in found.items()
        if isinstance(algorithm.actor, Learner) and not isinstance(algorithm.values, Exact)
    }


def measure(command: Command, task: Any) -> list[Record]:
    """A record per variant, all on the batch that one policy played."""
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

    here = jax.tree.map(lambda x: x[None], weights.learner)
    slope = jax.tree.map(lambda x: x[0], gradients(BASE, here)[1])
    points = jax.tree.map(
        lambda *x: jnp.stack(x), weights.learner, step(weights.learner, slope, command.step)
    )
    records, base = [], None
    for name, algorithm in variants().items():
        log, slope, loss = gradients(algorithm, points)
        if base is None:
            base, facts["gap"] = slope, float(loss["log_prob_gap"][1])
        records.append(
            {
                "variant": name,
                **{k: float(log[k]) for k in ("credit_mean", "credit_std")},
                **compare_gradients(slope, base),
                **facts,
            }
        )
        print(", ".join(map(str, line(records[-1]).values())), flush=True)
    return records


def warm(command: Command, task: Any) -> tuple[Policy, experience.Weights]:
    """A policy that succeeds sometimes and has a critic; its reference is the clone that it began as."""
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
    """`f` with its first arguments fixed, compiled for one device."""
    return parallel.launch(lambda *inputs: f(*fixed, *inputs), parallel.choose(1), "pmap")


def play(policy_config: Policy, task: Any, weights: experience.Weights, key, problem):
    """One batch of the base's size, with all that any variant asks of it: the task's states and the reference's log-probabilities."""
    curious = dataclasses.replace(BASE, values=Forks(), kl=ReferenceKL())
    return experience.collect(policy_config, task, curious, weights, key, problem, len(problem))[0]


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
    """What the batch's credit is like, and the loss's gradient and diagnostics at each of the `points`."""
    world = ValueContext(
        task, setup.policy, weights.learner, problem, jax.random.fold_in(key, VALUES)
    )
    credited = algorithm.reward(trajectory)
    value, _ = algorithm.values(world, credited)
    kept = algorithm.selection(trajectory)
    batch = experience.make_batch(
        algorithm, credited._replace(mask=credited.mask & kept[..., None, None]), value
    )
    log = experience.credit_metrics(algorithm, batch, value, credited)
    return log, *jax.lax.map(
        lambda params: learner.gradient(setup, [task.spec], algorithm, params, [batch]), points
    )


def without_critic_loss(algorithm: Algorithm) -> Algorithm:
    """The algorithm whose critic, if it has one, is not trained."""
    if not algorithm.values.learned:
        return algorithm
    return dataclasses.replace(
        algorithm, values=dataclasses.replace(algorithm.values, coefficient=0.0)
    )


def step(params: Any, slope: Any, rate: float) -> Any:
    """The weights one step further."""
    adam = Adam(learning_rate=rate, warmup=1)
    return optimizer.step(adam, slope, optimizer.init(adam, params), params, jnp.int32(0), 1)[0]


def compare_gradients(slope: Any, base: Any) -> Record:
    """Norm of the gradient, and its cosine with the base's, at both points."""

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
    """A variant's line of the table."""
    return {"": record["variant"]} | {
        name: f"{record[column]:.3f}" for name, column in COLUMNS.items()
    }


def describe_part(part: Any) -> str:
    """A part's name, with those of its fields that are not their defaults.

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
    """What stands in each field in which the algorithm differs from the base, sizes aside."""
    names = [f.name for f in dataclasses.fields(algorithm) if f.name not in SIZES]
    return {
        name: describe_part(getattr(algorithm, name))
        for name in names
        if getattr(algorithm, name) != getattr(base, name)
    }


def differences(algorithm: Algorithm, base: Algorithm = BASE) -> list[str]:
    """The same in words: of parts of one type what differs in them, else the part.

    >>> differences(PRESETS["grpo-trl"]), differences(PRESETS["dr-grpo-verl"])[0]
    (['aggregation token_mean, not sequence_mean'], 'credit centred, not group_relative')
    """
    said = []
    for name, cell in cells(algorithm, base).items():
        part, other = getattr(algorithm, name), getattr(base, name)
        if dataclasses.is_dataclass(part) and type(part) is type(other):
            fields = [
                f.name
                for f in dataclasses.fields(part)
                if getattr(part, f.name) != getattr(other, f.name)
            ]
            said += [
                f"{name}.{field} {getattr(part, field)}, not {getattr(other, field)}"
                for field in fields
            ]
        else:
            said.append(f"{name} {cell}, not {describe_part(other)}")
    return said


def page(results: list[Record]) -> str:
    """The notes on all algorithms, as markdown."""
    abouts = "\n".join(f"- `{name}`: {preset.about}" for name, preset in TABLE.items())
    credits, fields, numbers = (
        report.markdown(rows)
        for rows in (families(), matrix(), [line(record) for record in results])
    )
    measured = MEASURED.format(**results[0], command=command_of(results[0]))
    return "\n".join(
        [INTRODUCTION, credits, "\n## Presets\n", abouts, FIELDS, fields, "", measured, numbers, ""]
    )


def command_of(record: Record) -> str:
    """The command that made the results."""
    return "python -m experiments.pages.algorithms_page" + f" --task {record['task']}" * (
        record["task"] != Command.task
    )


def families() -> list[Record]:
    """The credits by the module that they stand in, each with the first sentence of its own words."""
    found = {}
    for name, cls in named(credit).items():
        found.setdefault(cls.__module__, {})[name] = " ".join(
            inspect.getdoc(cls).split("\n\n")[0].split()
        )
    return [
        {"family": f"`{module.rpartition('.')[2]}`" if not i else "", "credit": f"`{name}`", "": about}
        for module in sorted(found) for i, (name, about) in enumerate(found[module].items())
    ]  # fmt: skip


def matrix() -> list[Record]:
    """Every variant field by field."""
    each = {name: cells(algorithm) for name, algorithm in variants().items()}
    columns = [
        f.name for f in dataclasses.fields(Algorithm) if any(f.name in x for x in each.values())
    ]
    first = {"": "grpo"} | {column: describe_part(getattr(BASE, column)) for column in columns}
    return [first] + [
        {"": name} | {c: x.get(c, "") for c in columns}
        for name, x in each.items()
        if name != "grpo"
    ]


if __name__ == "__main__":
    console.main(main)
