"""No silent flags: every field of a config changes what is computed, except those that promise to change nothing."""

from collections.abc import Callable, Iterator
from dataclasses import Field, fields, is_dataclass, replace
from functools import cache
from typing import Any, Literal, get_args, get_origin

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import agentic_rl.envs
from agentic_rl import algorithms, config, parallel, presets
from agentic_rl.algorithms import Algorithm
from agentic_rl.config import ConfigError
from agentic_rl.config.ranges import kind
from agentic_rl.optimizer import Adam
from agentic_rl.policy import transformer
from agentic_rl.policy.transformer import Policy
from agentic_rl.records.run_directory import RunDirectory
from agentic_rl.rollout.actors import Expert
from agentic_rl.rollout.rollout import rollout
from agentic_rl.training import learner
from agentic_rl.training.run import Run, WarmStart
from agentic_rl.training.train import Result, train
from agentic_rl.values.exact import Exact
from experiments.cli.flags import PARTS
from tests.toys import Ragged, babbler

# What to try instead of a value, where the rule of its type would go unseen.
INSTEAD = {
    "optimizer.max_grad_norm": [1e-2],
    "optimizer.warmup": [10],
    "values.clip": [1e-4],
    "surrogate.clip_low": [1e-3, 0.5],
    "surrogate.clip_high": [1e-3, 0.5],
    "surrogate.bound": [1.1],
    "surrogate.max_log_ratio": [1e-3],
    "kl.clamp": [1e-4],
    "reward.clamp": [1e-4],
    "credit.eps": [1.0],
    "credit.ddof": [0],
    "problems": [8, 4],
    "attempts": [2, 4],
    "minibatches": [4],
    "selection.max_rounds": [1],
    "refresh": [2],
}
SAVES_MEMORY = {
    "values.capacity",
    "values.chunk",
}  # what promises to change nothing; tests/test_exact.py holds it to that
NAMES = {"name"}  # what a table calls it
MAY_REFUSE = {
    "refresh",
    "attempts",
}  # a lag where nobody samples, attempts where all would be alike
# Where to begin with a task; what is silent there is tried in its other modes, which takes longer.
LOUD = {
    "sort_digits": dict(answer_length=8), "chain_pit": dict(mode="demoed_recover"), "running_sum": dict(reward="per_turn"),
    "memorize": dict(num_problems=8), "two_prompt": dict(num_choices=4, easy=2), "tool_chase": dict(call_cost=0.02),
}  # fmt: skip
TASK, SIZE = Ragged(), Policy(width=8, layers=1, heads=2, mlp=8)


def leaves(value: Any, prefix: str = "") -> Iterator[tuple[str, Field, Any]]:
    """Path, field and value of everything in a config that is not a config itself."""
    for field in fields(value):
        inner, path = getattr(value, field.name), prefix + field.name
        yield from leaves(inner, f"{path}.") if is_dataclass(inner) else [(path, field, inner)]


def alternatives(path: str, field: Field, value: Any) -> list[Any]:
    """Other values to try."""
    if path in INSTEAD:
        return INSTEAD[path]
    if get_origin(field.type) is Literal:
        return [option for option in get_args(field.type) if option != value]
    if field.type is bool:
        return [not value]
    if isinstance(value, tuple):
        return [type(value)(value[: len(value) // 2])]
    return {
        int: lambda: [value + 1, value * 2, value + 8],
        float: lambda: [value * 0.5, value + 0.1],
        str: lambda: ["other"],
    }[kind(field.type)]()


def changed(value: Any, path: str, new: Any) -> Any | None:
    """The config with another value at `path`; None if it refuses it."""
    name, _, rest = path.partition(".")
    try:
        new = changed(getattr(value, name), rest, new) if rest else new
        return None if new is None else replace(value, **{name: new})
    except ConfigError:
        return None


def others(base: Any, path: str | None = None) -> Iterator[tuple[str, Any]]:
    """Path and config for each alternative that is not refused (at `path`, if given)."""
    for name, field, value in leaves(base):
        for new in alternatives(name, field, value) if path in (None, name) else []:
            other = changed(base, name, new)
            yield from [] if other is None else [(name, other)]


def differ(a: Any, b: Any) -> bool:
    """Do two outcomes differ by more than rounding?"""
    if jax.tree.map(jnp.shape, a) != jax.tree.map(jnp.shape, b):
        return True
    return any(
        not np.allclose(x, y, rtol=0, atol=1e-5)
        for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b))
    )


def silent(
    outcome: Callable[[Any], Any], base: Any, *more: Any, only: Callable = lambda field: True
) -> list[str]:
    """A sentence for each field of `base` that changes no outcome, be it of `base` or of the configs in `more`.

    A row may refuse all other options of a switch: then its flag is not silent. A number that it refuses altogether should not be there.
    """
    said = []
    for path, field, value in leaves(base):
        tried = (
            [(b, other) for b in (base, *more) for _, other in others(b, path)]
            if only(field)
            else []
        )
        refused = (
            not only(field)
            or not tried
            and (get_origin(field.type) is Literal or path in MAY_REFUSE)
        )
        if (
            not refused
            and path not in SAVES_MEMORY | NAMES
            and not any(differ(outcome(b), outcome(other)) for b, other in tried)
        ):
            name = f"{type(base).__name__}.{path}"
            said.append(
                f"{name} changes nothing: remove it, or tell tests/test_fields.py a value at which it does (not {value})."
            )
    return said


@config.config
class Loud:
    factor: float = 2.0
    power: int = 1


@config.config
class Quiet:
    part: Loud = Loud()
    unused: float = 0.5


def test_a_field_without_effect_is_named():
    said = silent(lambda c: c.part.factor**c.part.power, Quiet())
    assert len(said) == 1 and said[0].startswith("Quiet.unused changes nothing")
    assert silent(lambda c: c.factor, Loud())[0].startswith("Loud.power changes nothing")


def adversarial(row: Algorithm) -> Algorithm:
    """The row on a small batch of ragged episodes, with steps so large that the policy that acted is soon another one."""
    actor = Expert(noise=0.3) if isinstance(row.actor, Expert) else row.actor
    fast = replace(row.optimizer, learning_rate=0.05, warmup=1, max_grad_norm=1e3)
    sizes = (
        (8, 2) if row.selection.max_rounds > 1 else (4, 4)
    )  # some of many pairs fare alike, and are drawn again
    return replace(
        row,
        actor=actor,
        optimizer=fast,
        problems=sizes[0],
        attempts=sizes[1],
        epochs=2,
        minibatches=2,
    )


@cache
def update(setup: learner.Setup) -> Callable:
    def f(_, algorithm, state):
        return learner.update(setup, TASK, algorithm, jax.random.key(0), state)[0].params

    return jax.jit(jax.vmap(f, in_axes=(0, None, None), axis_name=parallel.AXIS))


@cache
def weights_after_update(algorithm: Algorithm) -> transformer.Params:
    """An update in the middle of a run. Configs that differ in floats alone share one compiled program."""
    setup = learner.setup(
        replace(SIZE, context="markov") if isinstance(algorithm.values, Exact) else SIZE,
        algorithm,
        8,
        0,
    )
    state = learner.init(algorithm, babbler(SIZE))._replace(step=jnp.int32(3))
    others = {
        name: babbler(SIZE, seed=7) for name in ("actor", "reference") if getattr(state, name)
    }
    state = state._replace(**others)  # policies that differ from the learner's
    return update(setup)(jnp.arange(1), algorithm, state)


def is_float(field: Field) -> bool:
    """A float that is not a coefficient: those make another program."""
    return kind(field.type) is float and not field.name.startswith("entropy_")


def swapped() -> Iterator[tuple[str, Algorithm]]:
    """A row for each part that no row and no preset has, by the flag that puts it there."""
    for flag, package in PARTS.items():
        bases = [
            ROWS[name] for name in ("reinforce" if flag == "reward" else "grpo", "ppo")
        ]  # shaping is nothing to a group's returns
        had = {type(getattr(row, flag)) for row in (ROWS | presets.PRESETS).values()}
        for name, part in [
            (name, part) for name, part in config.named(package).items() if part not in had
        ]:
            fits = (
                row
                for base in bases
                if (row := changed(replace(base, attempts=4, problems=4), flag, part())) is not None
            )
            yield f"--{flag} {name}", next(fits)


@pytest.fixture(autouse=True)
def forget_programs():
    """Thousands of compiled programs in one process exhaust its memory maps."""
    yield
    update.cache_clear()
    jax.clear_caches()


ROWS = algorithms.by_name()
ALL = ROWS | presets.PRESETS | dict(swapped())
KINDS = {"grpo", "--reward shaped"}
some_rows = pytest.mark.parametrize(
    "name", [pytest.param(n, marks=[pytest.mark.slow] * (n not in KINDS)) for n in ALL]
)


@some_rows
def test_every_number_of_a_row_changes_the_update(name):
    said = silent(weights_after_update, adversarial(ALL[name]), only=is_float)
    assert not said, said


@pytest.mark.slow  # each value of each field is another program
@pytest.mark.parametrize("name", ALL)
def test_every_other_field_of_a_row_changes_the_update(name):
    said = silent(
        weights_after_update, adversarial(ALL[name]), only=lambda field: not is_float(field)
    )
    assert not said, said


def changes_a_number(task: Any, other: Any) -> bool:
    """Do two configs differ in a number, rather than in a mode or switch?"""
    return any(
        kind(f.type) in (int, float) and getattr(task, f.name) != getattr(other, f.name)
        for f in fields(task)
    )


@cache
def trajectory(task: Any) -> Any:
    """What half-expert, half-random episodes show to a policy and a learner."""
    play = jax.jit(lambda: rollout(task, Expert(noise=0.5), jax.random.key(0), jnp.arange(32)))
    return play()._replace(anchor=(), is_key=())


@pytest.mark.slow
@pytest.mark.parametrize("name", config.named(agentic_rl.envs))
def test_every_field_of_a_task_changes_its_episodes(name):
    task = config.named(agentic_rl.envs)[name](**LOUD.get(name, {}))
    modes = sorted(
        (other for _, other in others(task)), key=lambda other: changes_a_number(task, other)
    )
    said = silent(trajectory, task, *modes)
    assert not said, said


@cache
def predictions(policy_config: Policy) -> Any:
    """Logits and values of random transcripts."""
    token = jax.random.randint(jax.random.key(1), (4, TASK.spec.context_length), 0, 64)
    sharp = jax.tree.map(lambda x: 5 * x, babbler(policy_config))  # fresh weights hardly attend
    return jax.jit(
        lambda params: transformer.apply(policy_config, params, TASK.spec, token, token > 4)
    )(sharp)


@pytest.mark.slow
def test_every_field_of_the_policy_changes_its_predictions_except_remat():
    said = silent(predictions, SIZE)
    assert len(said) == 1 and said[0].startswith("Policy.remat"), said


def test_remat_recomputes():
    def is_recomputed(size):
        token = jnp.ones((1, TASK.spec.context_length), int)
        return "remat" in str(
            jax.make_jaxpr(lambda p: transformer.apply(size, p, TASK.spec, token, token > 0))(
                babbler(size)
            )
        )

    assert is_recomputed(replace(SIZE, remat=True)) and not is_recomputed(SIZE)


def test_every_field_of_the_warm_start_is_used():
    rows = {
        path: other.algorithm
        for path, other in others(WarmStart(noise=0.2))
        if path not in ("updates", "checkpoint")
    }
    assert set(rows) == {"num_demos", "noise", "learning_rate"}
    assert all(row != WarmStart(noise=0.2).algorithm for row in rows.values())


# Fields of a run by what they may change: nothing, rounding, or the numbers.
EXACT = {"launcher": "shard_map", "chunk": 1, "checkpoint_every": 4}
ROUNDED = {"devices": 1, "micro_batch": 2, "seeds_at_once": 2}
COUNTED = {"updates", "seeds", "seed", "eval_every", "eval_episodes"}
RUN = Run(
    TASK, replace(adversarial(ROWS["grpo"]), optimizer=Adam(learning_rate=1e-3)), SIZE, devices=2, seeds=2,
    updates=4, chunk=2, eval_every=4, eval_episodes=4, checkpoint_every=2, micro_batch=0, seeds_at_once=1,
)  # fmt: skip


def evaluations(result: Result) -> dict[str, Any]:
    return {name: x for name, x in result.entries[-1].items() if name.startswith("eval_")}


@cache
def outcome(run: Run) -> tuple[Any, dict[str, Any]]:
    """Final state and evaluations of a run without a directory."""
    result = train(run)
    return jax.device_get(result.state), evaluations(result)


def test_every_field_of_a_run_is_known_here():
    names = {f.name for f in fields(Run) if not is_dataclass(getattr(RUN, f.name))}
    assert names == EXACT.keys() | ROUNDED.keys() | COUNTED, (
        "Say in tests/test_fields.py what the new field of Run may change."
    )


@pytest.mark.slow
@pytest.mark.parametrize("chunk", [1, 4])
def test_launcher_chunk_checkpoints_and_a_directory_change_no_bit(tmp_path, chunk):
    run = replace(RUN, **EXACT | {"chunk": chunk})
    with RunDirectory.create(tmp_path / "run", config.to_json(run)) as directory:
        kept = train(run, directory)
    chex.assert_trees_all_equal(outcome(RUN)[0], jax.device_get(kept.state))
    assert outcome(RUN)[1] == evaluations(kept)


@pytest.mark.slow
@pytest.mark.parametrize(
    "changes",
    [ROUNDED, *(pytest.param({n: ROUNDED[n]}, marks=pytest.mark.slow) for n in ROUNDED)],
    ids=str,
)
def test_devices_micro_batches_and_seeds_at_once_change_rounding_only(changes):
    chex.assert_trees_all_close(
        outcome(RUN)[0], outcome(replace(RUN, **changes))[0], rtol=0, atol=1e-5
    )
