"""Forks from states that an episode passed through, and the values computed from them."""

from dataclasses import replace
from functools import cache

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from agentic_rl import algorithms, parallel
from agentic_rl.credit.gae import GAE
from agentic_rl.credit.returns import RewardToGo, reward_to_go
from agentic_rl.credit.turns import TurnGAE
from agentic_rl.policy.sampler import Sampler
from agentic_rl.policy.transformer import Policy
from agentic_rl.rollout.forks import cache_episodes, fork
from agentic_rl.rollout.rollout import rollout
from agentic_rl.training import experience
from agentic_rl.values import ValueContext
from agentic_rl.values.forks import Forks, Greedy
from tests.toys import TINY, Walk, compiled, weights

CALM = Walk(gust=10**9, prompt_length=3, size=12)  # no gust ever: transitions are certain
CONTEXTS = [TINY, replace(TINY, context="markov")]
IDS = tuple(range(8))
MARKOV = pytest.param(CONTEXTS[1], marks=pytest.mark.slow)
both_contexts = pytest.mark.parametrize(
    "policy_config", [CONTEXTS[0], MARKOV], ids=["history", "markov"]
)


@cache
def sharp(policy_config: Policy) -> dict:
    """Returns weights whose greedy actions differ from state to state."""
    return jax.tree.map(lambda x: 1.5 * x, weights(policy_config, seed=2, likely=CALM.spec.choices))


def sampler(policy_config: Policy, task: Walk, temperature=1.0) -> Sampler:
    return Sampler(policy_config, sharp(policy_config), jnp.float32(temperature))


@cache
def player(policy_config, task):
    def play(params, temperature, ids):
        return rollout(
            task,
            Sampler(policy_config, params, temperature),
            jax.random.key(0),
            ids,
            2,
            keep_states=True,
        )

    return compiled(play)


@cache
def forker(policy_config, task):
    def play_on(params, temperature, trajectory, turn, keys, discount):
        actor = Sampler(policy_config, params, temperature)
        return fork(
            task, actor, cache_episodes(task, actor, trajectory), trajectory, turn, keys, discount
        )

    return compiled(play_on)


@cache
def played(policy_config=TINY, task=CALM, temperature=1.0, ids=IDS):
    actor = sampler(policy_config, task, temperature)
    return player(policy_config, task)(actor.params, actor.temperature, jnp.array(ids))


def forked(trajectory, turn, policy_config=TINY, task=CALM, temperature=1.0, seed=1, discount=1.0):
    actor = sampler(policy_config, task, temperature)
    keys = jax.random.split(jax.random.key(seed), trajectory.success.size)
    return forker(policy_config, task)(
        actor.params, actor.temperature, trajectory, jnp.int32(turn), keys, jnp.float32(discount)
    )


@both_contexts
def test_greedy_forks_of_greedy_episodes_earn_what_the_episodes_did(policy_config):
    trajectory = played(policy_config, temperature=0.0)
    assert (
        len(np.unique(trajectory.action)) > 2
        and len(np.unique(trajectory.mask.any(-1).sum(-1))) > 1
    )
    for discount in (1.0, 0.5):
        to_go = reward_to_go(trajectory.reward, discount)
        for turn in range(CALM.num_turns):
            np.testing.assert_allclose(
                forked(trajectory, turn, policy_config, temperature=0.0, discount=discount).total,
                to_go[..., turn],
                atol=1e-6,
            )


@both_contexts
def test_a_fork_reads_the_episode_it_leaves_and_not_what_came_after(policy_config):
    trajectory = played(policy_config)
    other = trajectory._replace(
        action=trajectory.action.at[:, :, 2:].set(5),
        observation=trajectory.observation.at[:, :, 3:].set(5),
    )
    chex.assert_trees_all_close(
        forked(trajectory, 2, policy_config), forked(other, 2, policy_config)
    )
    before = trajectory._replace(
        action=jnp.where(trajectory.mask, 5, trajectory.action)
        .at[:, :, 2:]
        .set(trajectory.action[:, :, 2:])
    )
    changes = [
        (
            forked(trajectory, 2, policy_config, seed=s).total
            != forked(before, 2, policy_config, seed=s).total
        ).any()
        for s in range(20)
    ]
    assert any(changes) == (policy_config.context == "history")


def test_episodes_that_were_over_are_not_forked():
    trajectory = played()
    over = ~np.asarray(trajectory.mask[:, :, 3].any(-1))
    outcome = forked(trajectory, 3)
    assert over.any() and (~over).any()
    assert (outcome.total[over] == 0).all() and outcome.turns == (~over).sum()


def test_a_fork_does_not_depend_on_the_others():
    trajectory, keys = played(), jax.random.split(jax.random.key(1), 16)
    half = jax.tree.map(lambda x: x[4:], trajectory)
    actor = sampler(TINY, CALM)
    alone = forker(TINY, CALM)(
        actor.params, actor.temperature, half, jnp.int32(1), keys[8:], jnp.float32(1.0)
    )
    np.testing.assert_allclose(alone.total, forked(trajectory, 1).total[4:], atol=1e-6)


WINDY = Walk()  # random transitions


@cache
def valued(source, task=WINDY, ids=IDS):
    actor = sampler(TINY, task)
    trajectory = played(TINY, task, ids=ids)
    context = ValueContext(task, TINY, actor.params, jnp.array(ids), jax.random.key(3))
    return trajectory, *compiled(lambda trajectory: source(context, trajectory))(trajectory)


@pytest.mark.slow
def test_the_mean_of_many_forks_from_the_start_is_the_expected_return():
    _, value, _ = valued(Forks(count=64))
    actor = sampler(TINY, WINDY)  # the same key, so the same instances
    returns = np.asarray(
        compiled(lambda ids: rollout(WINDY, actor, jax.random.key(0), ids, 512).reward.sum(-1))(
            jnp.array(IDS)
        )
    )
    expected, error = returns.mean(1, keepdims=True), returns.std() * (1 / 64 + 1 / 512) ** 0.5
    np.testing.assert_allclose(value.before[:, :, 0, 0], expected.repeat(2, 1), atol=4 * error)
    assert np.ptp(expected) > 4 * error  # problems differ by more than the tolerance


def test_forks_give_a_turn_s_last_token_the_whole_difference():
    trajectory, value, _ = valued(Forks(count=2))
    mask = np.asarray(trajectory.mask)
    delta, before = np.asarray(value.after - value.before), np.asarray(value.before)
    for n, g, t in np.ndindex(mask.shape[:3]):
        count = mask[n, g, t].sum()
        assert (
            len(set(before[n, g, t, :count].tolist())) <= 1
            and (delta[n, g, t, : max(count - 1, 0)] == 0).all()
        )


def test_with_forks_and_lambda_0_the_advantage_is_the_one_step_td_error():
    trajectory, value, _ = valued(Forks(count=2))
    result, alive = (
        TurnGAE(lambda_=0.0, whiten=False)(trajectory, value),
        np.asarray(trajectory.mask.any(-1)),
    )
    v = np.where(alive, value.before[..., 0], 0.0)
    after = np.concatenate([v[..., 1:], np.zeros_like(v[..., :1])], -1)
    np.testing.assert_allclose(
        result[..., 0], np.where(alive, trajectory.reward + after - v, 0.0), atol=1e-6
    )


def test_forks_are_charged_for_every_turn_and_token_they_play():
    trajectory, _, costs = valued(Forks(count=3))
    alive = np.asarray(trajectory.mask.any(-1))
    assert (
        3 * alive.sum()
        <= costs["env_steps"]
        <= 3 * sum(alive[..., t].sum() * (WINDY.num_turns - t) for t in range(WINDY.num_turns))
    )
    assert costs["env_steps"] <= costs["generated_tokens"] <= 3 * costs["env_steps"]


def test_the_greedy_baseline_is_the_return_of_the_greedy_episode():
    trajectory, value, costs = valued(Greedy(), CALM)
    greedy = played(TINY, CALM, temperature=0.0)
    expected = greedy.reward.sum(-1)[:, :1, None, None]
    np.testing.assert_allclose(value.before, np.where(trajectory.mask, expected, 0.0), atol=1e-6)
    assert costs["env_steps"] == greedy.mask[:, 0].any(-1).sum()
    credit = GAE(lambda_=1.0, whiten=False)(trajectory, value)
    to_go = RewardToGo()(trajectory, value)
    np.testing.assert_allclose(
        credit, np.where(trajectory.mask, to_go - expected, 0.0), atol=1e-5
    )  # ReMax


@pytest.mark.parametrize(
    "source",
    [pytest.param(Forks(count=2), marks=pytest.mark.slow), Greedy()],
    ids=["forks", "greedy"],
)
def test_values_from_forks_are_the_same_on_one_device_and_on_two(source):
    algorithm = replace(algorithms.VINEPPO, values=source, problems=4, attempts=2, minibatches=1)
    params = sharp(TINY)

    def make_experience(params):
        weights = experience.Weights(params, params, None)
        return experience.experience(
            WINDY, TINY, algorithm, weights, jax.random.key(0), jnp.int32(0), algorithm.problems
        )

    one, two = (
        jax.device_get(parallel.launch(make_experience, parallel.choose(n), "pmap")(params))
        for n in (1, 2)
    )
    chex.assert_trees_all_close(one.batch, two.batch, atol=1e-5)
    assert one.costs == two.costs
