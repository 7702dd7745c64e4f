"""The rollout: what it records is what was done, and an episode does not depend on its batch."""

from dataclasses import replace
from functools import cache

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from agentic_rl import algorithms, parallel, problems, tokens
from agentic_rl.envs.running_sum import RunningSum
from agentic_rl.envs.sort_digits import SortDigits
from agentic_rl.policy import layout, transformer
from agentic_rl.policy.sampler import Sampler
from agentic_rl.policy.transformer import Policy
from agentic_rl.rollout import actors
from agentic_rl.rollout.rollout import rollout
from agentic_rl.training.experience import Weights, collect
from agentic_rl.types import Trajectory
from tests.toys import TINY, Walk, compiled, weights

WALK = Walk(prompt_length=3)
SHORT = Walk(prompt_length=1, action_length=1)
BATCH = tuple(range(8))


@cache
def program(task, actor, attempts):
    def run(params, temperature, key, ids):
        return rollout(
            task, Sampler(actor, params, temperature) if params else actor, key, ids, attempts
        )

    return compiled(run)


@cache
def play(task=WALK, ids=BATCH, attempts=2, actor=TINY, temperature=1.0, seed=0) -> Trajectory:
    """Returns episodes at the problems `ids`; a policy acts with weights that often choose END."""
    params = weights(actor, likely=task.spec.choices) if isinstance(actor, Policy) else ()
    return jax.device_get(
        program(task, actor, attempts)(
            params, jnp.float32(temperature), jax.random.key(seed), jnp.array(ids)
        )
    )


@cache
def reader(policy_config, spec, branched=False):
    return compiled(
        lambda params, token, valid: transformer.apply(
            policy_config, params, spec, token, valid, branched
        )[0]
    )


def read(policy_config, task, trajectory, branched=False):
    """Returns teacher-forced logits [N, G, T, A, V] of the weights that play."""
    flat = [x.reshape((-1,) + x.shape[2:]) for x in layout.tokens(trajectory, branched)]
    logits = reader(policy_config, task.spec, branched)(
        weights(policy_config, likely=task.spec.choices), *flat
    )
    return np.asarray(logits).reshape(trajectory.mask.shape + (-1,))


def assert_same(one, other):
    """Asserts that floats are the same up to rounding, and all else exactly."""
    chex.assert_trees_all_equal_shapes_and_dtypes(one, other)
    for x, y in zip(jax.tree.leaves(one), jax.tree.leaves(other)):
        np.testing.assert_allclose(
            x,
            y,
            **(
                dict(rtol=1e-5, atol=1e-6)
                if np.issubdtype(x.dtype, np.floating)
                else dict(rtol=0, atol=0)
            ),
        )


def part(trajectory, problems=slice(None), attempts=slice(None)):
    return jax.tree.map(lambda x: x[problems, attempts], trajectory)


def matches_expert(trajectory):
    """Returns, for each turn that was played, whether the action is the expert's."""
    return (trajectory.action == trajectory.label).all(-1)[trajectory.mask.any(-1)]


def turns(trajectory):
    return trajectory.mask.any(-1).sum(-1)


@pytest.mark.parametrize(
    "actor",
    [
        TINY,
        pytest.param(replace(TINY, context="markov"), marks=pytest.mark.slow),
        actors.Random(),
    ],
    ids=["history", "markov", "random"],
)
def test_an_episode_is_the_same_alone_and_among_others_that_play_on_longer(actor):
    batch = play(actor=actor)
    lengths = turns(batch)[:, 0]
    early = int(np.argmin(lengths))
    assert lengths[early] < WALK.num_turns == lengths.max()
    assert_same(play(ids=(early,), attempts=1, actor=actor), part(batch, [early], slice(0, 1)))


def test_another_seed_gives_other_problems_and_other_choices():
    one, other = play(), play(seed=1)
    assert (one.prompt != other.prompt).any() and (one.action != other.action).any()


def test_attempts_share_the_instance_and_nothing_else():
    episodes = play()
    np.testing.assert_array_equal(episodes.prompt[:, 0], episodes.prompt[:, 1])
    np.testing.assert_array_equal(episodes.observation[:, 0, 0], episodes.observation[:, 1, 0])
    assert (episodes.action[:, 0] != episodes.action[:, 1]).any((-1, -2)).all()
    assert len(np.unique(episodes.anchor[:, 0, 0])) > 4
    right = play(actor=actors.Expert())
    assert (
        right.observation[:, 0, 1:] != right.observation[:, 1, 1:]
    ).any()  # their transitions differ too


@pytest.mark.parametrize("task", [WALK, SHORT], ids=["A=3", "A=1"])
@pytest.mark.parametrize("context", ["history", "markov"])
def test_the_recorded_log_probability_is_that_of_a_teacher_forced_pass(task, context):
    policy_config = replace(TINY, context=context)
    episodes = play(task, actor=policy_config)
    log_prob = np.take_along_axis(
        np.asarray(jax.nn.log_softmax(read(policy_config, task, episodes))),
        episodes.action[..., None],
        -1,
    )[..., 0]
    np.testing.assert_allclose(
        episodes.log_prob, np.where(episodes.mask, log_prob, 0.0), rtol=1e-5, atol=1e-5
    )
    assert not episodes.mask[:, :, 0].all() or task is SHORT


@pytest.mark.parametrize("context", ["history", "markov"])
def test_at_temperature_0_the_likeliest_token_is_taken(context):
    policy_config = replace(TINY, context=context)
    episodes = play(actor=policy_config, temperature=0.0)
    best = read(policy_config, WALK, episodes).argmax(-1)
    np.testing.assert_array_equal(episodes.action, np.where(episodes.mask, best, tokens.PAD))
    assert (play(actor=policy_config).action != episodes.action).any()


def test_tokens_are_drawn_as_often_as_their_probability_says():
    episodes = play(SHORT, tuple(range(64)), 16)
    probability = np.asarray(jax.nn.softmax(read(TINY, SHORT, episodes)))
    for token in SHORT.spec.choices:
        drawn, expected = (
            (episodes.action == token)[episodes.mask],
            probability[..., token][episodes.mask],
        )
        assert abs(drawn.sum() - expected.sum()) < 4 * np.sqrt((expected * (1 - expected)).sum())
        assert expected.mean() > 0.05


@pytest.mark.parametrize(
    "actor", [TINY, actors.Random(), actors.Expert(noise=0.5)], ids=["policy", "random", "expert"]
)
def test_what_follows_the_end_of_an_action_or_of_the_episode_is_blank(actor):
    episodes = play(actor=actor)
    ended = np.cumsum(episodes.action == tokens.END, axis=-1) - (episodes.action == tokens.END) > 0
    over = (
        np.cumsum(episodes.reward > 0.5, axis=-1) - (episodes.reward > 0.5) > 0
    )  # behind the turn of arrival
    np.testing.assert_array_equal(episodes.mask, ~ended & ~over[..., None])
    assert ended.any() and over.any()
    blank = dict(
        observation=tokens.PAD, label=tokens.PAD, label_mask=False, reward=0, anchor=0, is_key=False
    )
    for name, x in blank.items():
        assert (getattr(episodes, name)[over] == x).all(), name
    assert (episodes.action[~episodes.mask] == tokens.PAD).all() and (
        episodes.log_prob[~episodes.mask] == 0
    ).all()
    assert (episodes.reward[~over] != 0).all()
    np.testing.assert_array_equal(episodes.success, episodes.reward.max(-1) > 0.5)


@pytest.mark.parametrize(
    "task", [Walk(), RunningSum(num_turns=2, modulus=3), SortDigits(num_digits=2, base=3)]
)
def test_training_and_test_problems_share_no_instance(task):
    keys = jax.vmap(jax.random.key)(jnp.arange(300))
    instances = {}
    for split in ("train", "test"):
        state, _ = compiled(jax.vmap(lambda key: problems.draw(task, split, key)))(keys)
        instances[split] = {
            tuple(np.concatenate([np.ravel(x[i]) for x in jax.device_get(state)]))
            for i in range(300)
        }
    assert not instances["train"] & instances["test"]
    assert instances["train"] and instances["test"]


def test_a_problem_of_a_split_is_one_that_the_task_itself_draws():
    draws = compiled(jax.vmap(lambda i: WALK.reset(jax.random.fold_in(jax.random.key(7), i))[0]))(
        jnp.arange(20)
    )
    hashes = np.asarray(jax.vmap(problems.instance_hash)(draws))
    for split in ("train", "test"):
        first = np.flatnonzero((hashes % 4 == 0) == (split == "test"))[0]
        drawn, _ = problems.draw(WALK, split, jax.random.key(7))
        assert [int(x) for x in drawn] == [int(x[first]) for x in draws]


def test_a_fixed_set_of_demonstrations_repeats_exactly_noise_included():
    noisy = replace(
        algorithms.SFT, actor=actors.Expert(num_demos=4, noise=0.5), problems=2, minibatches=1
    )

    def demonstrations(drawn):
        problem = drawn + jnp.arange(noisy.problems)
        return collect(
            WALK, TINY, noisy, Weights(None, None, None), jax.random.key(0), problem, noisy.problems
        )[0]

    program = parallel.launch(demonstrations, jax.devices()[:1], "shard_map")
    first, second, again = (jax.device_get(program(jnp.int32(drawn))) for drawn in (0, 2, 4))
    assert_same(first, again)
    assert (first.action != second.action).any() and not matches_expert(first).all()


def test_a_noisy_expert_slips_at_the_stated_rate():
    episodes = play(SHORT, tuple(range(200)), 4, actor=actors.Expert(noise=0.3))
    expected, count = 0.7 + 0.3 / 3, turns(episodes).sum()  # one random choice in three is right
    agreed = matches_expert(episodes).mean()
    assert abs(agreed - expected) < 4 * np.sqrt(expected * (1 - expected) / count)


@pytest.mark.parametrize(
    "actor",
    [actors.Random(), actors.Expert(noise=1.0), TINY],
    ids=["random", "noisy expert", "policy"],
)
def test_the_task_s_luck_does_not_depend_on_what_the_actor_drew(actor):
    """With one key for both, a random choice would foretell the gust of the same turn."""
    task = replace(SHORT, size=16, num_turns=2)
    episodes = play(task, tuple(range(400)), 4, actor=actor)
    goal = episodes.prompt[..., -1] - tokens.VALUE
    place, action = episodes.observation[..., 1] - tokens.VALUE, episodes.action[:, :, 0, 0]
    step = np.select([action == tokens.RIGHT, action == tokens.LEFT], [1, -1], 0)
    gust = place[..., 1] - place[..., 0] - step
    inside = (
        (place[..., 0] > 1) & (place[..., 0] < 14) & (abs(place[..., 0] - goal) > 2)
    )  # no wall, no arrival
    for token in task.spec.choices:
        chosen = inside & (action == token)
        assert chosen.sum() > 50
        assert abs(gust[chosen].mean() - 1 / 3) < 4 * np.sqrt(2 / 9 / chosen.sum())


@pytest.mark.parametrize("context", ["history", "markov"])
@pytest.mark.parametrize("task", [WALK, SortDigits(num_digits=3)], ids=["Walk", "SortDigits"])
def test_labels_are_predicted_as_if_each_turn_s_label_had_been_taken(task, context):
    policy_config = replace(TINY, context=context)
    episodes = play(task, actor=policy_config)
    branched = read(policy_config, task, episodes, branched=True)
    for t in range(task.spec.num_turns):
        expert = episodes._replace(action=episodes.action.copy(), mask=episodes.mask.copy())
        expert.action[:, :, t], expert.mask[:, :, t] = (
            episodes.label[:, :, t],
            episodes.label_mask[:, :, t],
        )
        alone, is_label = read(policy_config, task, expert)[:, :, t], episodes.label_mask[:, :, t]
        np.testing.assert_allclose(
            branched[:, :, t][is_label], alone[is_label], rtol=1e-5, atol=1e-5
        )
    assert (episodes.action != episodes.label)[episodes.label_mask].mean() > 0.3


def test_where_the_expert_acts_its_labels_are_its_actions():
    episodes = play(actor=actors.Expert())
    np.testing.assert_array_equal(episodes.action, episodes.label)
    np.testing.assert_array_equal(episodes.mask, episodes.label_mask)
    straight, branched = (
        read(TINY, WALK, episodes, branched)[episodes.mask] for branched in (False, True)
    )
    np.testing.assert_allclose(straight, branched, rtol=1e-5, atol=1e-5)
