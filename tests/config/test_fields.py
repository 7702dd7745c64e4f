"""Every field of a config changes what is computed, unless it promises to change nothing."""

from collections.abc import Iterator
from dataclasses import Field, fields, replace
from functools import cache
from typing import Any

import jax
import jax.numpy as jnp
import pytest

import agentic_rl.envs
from agentic_rl import algorithms, config, presets
from agentic_rl.algorithms import Algorithm
from agentic_rl.config.ranges import kind
from agentic_rl.policy import transformer
from agentic_rl.policy.transformer import Policy
from agentic_rl.rollout.actors import Expert
from agentic_rl.rollout.rollout import rollout
from agentic_rl.training.run import WarmStart
from experiments.cli.flags import PARTS
from tests.adversarial_updates import POLICY, TASK, adversarial, update, weights_after_update
from tests.silent_fields import changed, others, silent
from tests.toys import babbler

# Where to begin with a task. Fields that are silent there are tried in its other modes, which takes
# longer.
LOUD = {
    "sort_digits": dict(answer_length=8),
    "chain_pit": dict(mode="demoed_recover"),
    "running_sum": dict(reward="per_turn"),
    "memorize": dict(num_problems=8),
    "two_prompt": dict(num_choices=4, easy=2),
    "tool_chase": dict(call_cost=0.02),
}


@config.config
class Loud:
    factor: float = 2.0
    power: int = 1


@config.config
class Quiet:
    part: Loud = Loud()
    unused: float = 0.5


def test_a_field_without_effect_is_named():
    sentences = silent(lambda c: c.part.factor**c.part.power, Quiet())
    assert len(sentences) == 1 and sentences[0].startswith("Quiet.unused changes nothing")
    assert silent(lambda c: c.factor, Loud())[0].startswith("Loud.power changes nothing")


def is_float(field: Field) -> bool:
    """Returns whether a field is a float that does not change the compiled program."""
    return kind(field.type) is float and not field.name.startswith("entropy_")


def swapped() -> Iterator[tuple[str, Algorithm]]:
    """Yields an algorithm for each part that no algorithm or preset has, by the part's flag."""
    for flag, package in PARTS.items():
        bases = [
            ALGORITHMS[name] for name in ("reinforce" if flag == "reward" else "grpo", "ppo")
        ]  # shaping is nothing to a group's returns
        had = {
            type(getattr(algorithm, flag)) for algorithm in (ALGORITHMS | presets.PRESETS).values()
        }
        for name, part in [
            (name, part) for name, part in config.named(package).items() if part not in had
        ]:
            fits = (
                algorithm
                for base in bases
                if (algorithm := changed(replace(base, attempts=4, problems=4), flag, part()))
                is not None
            )
            yield f"--{flag} {name}", next(fits)


@pytest.fixture(autouse=True)
def forget_programs():
    """Thousands of compiled programs in one process exhaust its memory maps."""
    yield
    update.cache_clear()
    jax.clear_caches()


ALGORITHMS = algorithms.by_name()
ALL = ALGORITHMS | presets.PRESETS | dict(swapped())
KINDS = {"grpo"}
some_algorithms = pytest.mark.parametrize(
    "name", [pytest.param(n, marks=[pytest.mark.slow] * (n not in KINDS)) for n in ALL]
)


@some_algorithms
def test_every_number_of_an_algorithm_changes_the_update(name):
    sentences = silent(weights_after_update, adversarial(ALL[name]), only=is_float)
    assert not sentences, sentences


@pytest.mark.slow  # each value of each field is another program
@pytest.mark.parametrize("name", ALL)
def test_every_other_field_of_an_algorithm_changes_the_update(name):
    sentences = silent(
        weights_after_update, adversarial(ALL[name]), only=lambda field: not is_float(field)
    )
    assert not sentences, sentences


def changes_a_number(task: Any, other: Any) -> bool:
    """Returns whether two configs differ in a number, rather than in a mode or switch."""
    return any(
        kind(f.type) in (int, float) and getattr(task, f.name) != getattr(other, f.name)
        for f in fields(task)
    )


@cache
def trajectory(task: Any) -> Any:
    """Returns what half-expert, half-random episodes show to a policy and a learner."""
    play = jax.jit(lambda: rollout(task, Expert(noise=0.5), jax.random.key(0), jnp.arange(32)))
    return play()._replace(anchor=(), is_key=())


@pytest.mark.slow
@pytest.mark.parametrize("name", config.named(agentic_rl.envs))
def test_every_field_of_a_task_changes_its_episodes(name):
    task = config.named(agentic_rl.envs)[name](**LOUD.get(name, {}))
    modes = sorted(
        (other for _, other in others(task)), key=lambda other: changes_a_number(task, other)
    )
    sentences = silent(trajectory, task, *modes)
    assert not sentences, sentences


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
    sentences = silent(predictions, POLICY)
    assert len(sentences) == 1 and sentences[0].startswith("Policy.remat"), sentences


def test_remat_recomputes():
    def is_recomputed(size):
        token = jnp.ones((1, TASK.spec.context_length), int)
        return "remat" in str(
            jax.make_jaxpr(lambda p: transformer.apply(size, p, TASK.spec, token, token > 0))(
                babbler(size)
            )
        )

    assert is_recomputed(replace(POLICY, remat=True)) and not is_recomputed(POLICY)


def test_every_field_of_the_warm_start_is_used():
    algorithms_by_path = {
        path: other.algorithm
        for path, other in others(WarmStart(noise=0.2))
        if path not in ("updates", "checkpoint")
    }
    assert set(algorithms_by_path) == {"num_demos", "noise", "learning_rate"}
    assert all(
        algorithm != WarmStart(noise=0.2).algorithm for algorithm in algorithms_by_path.values()
    )
