"""From episodes to a batch with credit: what is drawn again, left out and charged.

No number of devices makes a difference.
"""

from dataclasses import replace
from functools import cache

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from agentic_rl import algorithms, parallel, tokens
from agentic_rl.credit.group import BatchRelative, Centred
from agentic_rl.credit.returns import RewardToGo
from agentic_rl.policy.episode_pass import read_episodes
from agentic_rl.policy.sampler import Sampler
from agentic_rl.policy.transformer import Policy
from agentic_rl.rewards import KlReward, SoftOverlong
from agentic_rl.rng_streams import PLAY
from agentic_rl.rollout.rollout import rollout
from agentic_rl.selection import All, Informative, NotOverlong, TopSpread
from agentic_rl.training import experience
from agentic_rl.training.experience import Weights
from tests.toys import Ragged, babbler

TASK, POLICY = Ragged(), Policy(width=8, layers=1, heads=2, mlp=8)
PARAMS, OTHERS = babbler(POLICY), babbler(POLICY, seed=7)
COUNT = 8
ALGORITHM = replace(algorithms.GRPO, problems=COUNT, attempts=2, minibatches=1)
WEIGHTS = Weights(PARAMS, PARAMS, OTHERS)


@cache
def program(algorithm, devices):
    def collect(weights, first_problem):
        return experience.experience(
            TASK, POLICY, algorithm, weights, jax.random.key(0), first_problem, COUNT
        )

    return parallel.launch(collect, parallel.choose(devices), "pmap")


def make_experience(algorithm, devices=1, first_problem=0):
    return jax.device_get(program(algorithm, devices)(WEIGHTS, jnp.int32(first_problem)))


@cache
def play(round_=0):
    """Returns the groups that a round plays if every slot is drawn."""
    problem = round_ * COUNT + jnp.arange(COUNT)
    key = jax.random.fold_in(jax.random.key(0), PLAY)
    return jax.device_get(
        jax.jit(lambda p: rollout(TASK, Sampler(POLICY, p), key, problem, 2))(PARAMS)
    )


BATCHWISE = {
    "whitened, top spread": replace(
        ALGORITHM, credit=Centred(whiten=True), selection=TopSpread(0.5)
    ),
    "batch scale, drawn again": replace(
        ALGORITHM, credit=BatchRelative(), selection=Informative(3)
    ),
    "whitened reward to go, KL in the reward": replace(
        ALGORITHM, credit=RewardToGo(whiten=True), reward=KlReward(0.5)
    ),
    "overlong": replace(ALGORITHM, reward=SoftOverlong(), selection=NotOverlong()),
}
FAST = {"whitened, top spread"}
several = pytest.mark.parametrize("devices", [2, pytest.param(4, marks=pytest.mark.slow)])


@several
@pytest.mark.parametrize(
    "name", [pytest.param(n, marks=[pytest.mark.slow] * (n not in FAST)) for n in BATCHWISE]
)
def test_credit_and_selection_are_the_same_on_one_device_and_on_several(name, devices):
    one, many = make_experience(BATCHWISE[name]), make_experience(BATCHWISE[name], devices)
    assert np.ptp(one.batch.credit) > 0.5
    chex.assert_trees_all_close(one.batch, many.batch, rtol=1e-5, atol=1e-5)
    chex.assert_trees_all_close(one.log | one.costs, many.log | many.costs, rtol=1e-5, atol=1e-5)


def spread(trajectory):
    total = np.asarray(trajectory.reward).sum(-1)
    return (total != total[:, :1]).any(1)


@pytest.mark.parametrize("rounds", [*(pytest.param(n, marks=pytest.mark.slow) for n in (1, 2)), 3])
def test_a_slot_keeps_its_first_uneven_group_and_pays_for_all_rounds(rounds):
    result = make_experience(replace(ALGORITHM, selection=Informative(rounds)))
    chosen, turns = [], 0
    for slot in range(COUNT):
        kept = [r for r in range(rounds) if spread(play(r))[slot]]
        chosen.append(kept[0] if kept else None)
        turns += sum(
            play(r).mask[slot].any(-1).sum() for r in range(chosen[-1] + 1 if kept else rounds)
        )
    assert set(chosen) == (
        {0, None} if rounds < 3 else {0, 2}
    )  # a slot is drawn three times before its attempts differ
    assert result.costs["env_steps"] == turns
    action = result.batch.target.reshape(COUNT, 2, 3, 3)
    mask = result.batch.mask.reshape(action.shape)
    for slot, r in enumerate(chosen):
        if r is None:
            assert not mask[slot].any()
        else:
            np.testing.assert_array_equal(action[slot], play(r).action[slot])
            np.testing.assert_array_equal(mask[slot], play(r).mask[slot])
    assert result.log["kept"] == np.mean([r is not None for r in chosen])


def test_what_is_left_out_is_played_and_charged_but_not_trained_on():
    every, some = (
        make_experience(replace(ALGORITHM, selection=All())),
        make_experience(replace(ALGORITHM, selection=TopSpread(0.25))),
    )
    assert every.costs["env_steps"] == some.costs["env_steps"] == play().mask.any(-1).sum()
    assert (
        some.costs["trained_tokens"]
        == some.batch.mask.sum()
        < every.costs["trained_tokens"]
        == play().mask.sum()
    )
    kept = some.batch.mask.any((1, 2)).reshape(COUNT, 2)
    assert (kept.sum(0) == 2).all() and some.log["kept"] == 0.25
    np.testing.assert_array_equal(some.batch.credit[kept.ravel()], every.batch.credit[kept.ravel()])
    assert some.log["success"] == every.log["success"]


def test_success_and_return_are_of_the_task_s_own_reward():
    plain, costly = (
        make_experience(ALGORITHM),
        make_experience(replace(ALGORITHM, reward=SoftOverlong(penalty=9.0))),
    )
    assert (
        plain.log["return"] == costly.log["return"]
        and (plain.batch.credit != costly.batch.credit).any()
    )


def test_only_outcome_conditioning_marks_failures_in_the_prompt():
    marked, plain = (
        make_experience(replace(algorithms.RVS, problems=COUNT, attempts=2, minibatches=1)),
        make_experience(ALGORITHM),
    )
    success = play().success.ravel()
    assert set(success) == {True, False}
    np.testing.assert_array_equal(
        marked.batch.token[:, 0], np.where(success, tokens.BOS, tokens.FAIL)
    )
    np.testing.assert_array_equal(marked.batch.token[:, 1:], plain.batch.token[:, 1:])
    assert (plain.batch.token[:, 0] == tokens.BOS).all()


def test_lengths_are_reported_of_right_and_of_wrong_episodes():
    log, length, success = make_experience(ALGORITHM).log, play().mask.sum((2, 3)), play().success
    assert log["length_right"] == pytest.approx(length[success].mean()) and log[
        "length_wrong"
    ] == pytest.approx(length[~success].mean())


def test_in_bfloat16_old_log_probs_come_from_a_pass_as_in_training():
    size, rounded = (
        replace(POLICY, dtype="bfloat16"),
        play()._replace(log_prob=play().log_prob + 0.25 * play().mask),
    )

    def reread(params, episodes):
        return experience.reread(TASK.spec, size, ALGORITHM, params, episodes), read_episodes(
            size, params, TASK.spec, episodes
        )[0]

    f = parallel.launch(reread, parallel.choose(1), "pmap")
    (result, log), read = jax.device_get(f(PARAMS, rounded))
    np.testing.assert_array_equal(result.log_prob, np.where(rounded.mask, read, 0.0))
    assert (
        log["sampler_gap"]
        == pytest.approx(abs(read - rounded.log_prob)[rounded.mask].mean(), rel=1e-5)
        and log["sampler_gap"] > 0.2
    )
    chex.assert_trees_all_equal(result._replace(log_prob=rounded.log_prob), rounded)


def test_nothing_is_read_again_in_float32_or_where_nothing_compares():
    half = replace(POLICY, dtype="bfloat16")
    assert experience.needs_reread(half, ALGORITHM) and experience.needs_reread(
        half, replace(algorithms.REINFORCE, reward=KlReward())
    )
    assert not experience.needs_reread(POLICY, ALGORITHM)
    assert not any(
        experience.needs_reread(half, algorithm)
        for algorithm in (algorithms.SFT, algorithms.DAGGER, algorithms.REINFORCE)
    )
    assert experience.reread(TASK.spec, POLICY, ALGORITHM, PARAMS, play()) == (play(), {})
