"""One update: what it computes, what it must not depend on, and what it costs."""

from dataclasses import replace

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from agentic_rl import algorithms, parallel
from agentic_rl.envs.running_sum import RunningSum
from agentic_rl.optimizer import Sgd
from agentic_rl.policy.transformer import Policy
from agentic_rl.rollout.rollout import rollout
from agentic_rl.training import experience, learner
from agentic_rl.training.batch import make_batch
from agentic_rl.training.run import Run, WarmStart
from agentic_rl.training.train import train
from tests.training.toy_updates import (
    LENGTH,
    ONE_STEP,
    OTHERS,
    PARAMS,
    POLICY,
    PPO,
    SMALL,
    TASK,
    WEIGHTS,
    on_one_device,
    play,
    program,
    start,
    update_once,
)


def test_the_batch_of_these_tests_is_ragged():
    mask = np.asarray(play()[0].mask)
    assert {1, 2, 3} <= set(mask.sum(-1).ravel()) and len(set(mask.any(-1).sum(-1).ravel())) >= 2
    assert (
        mask.sum(-1)[:4].sum() != mask.sum(-1)[4:].sum()
    )  # of the tokens, two devices get unlike shares


several = pytest.mark.parametrize("devices", [2, pytest.param(4, marks=pytest.mark.slow)])


@several
def test_an_update_is_the_same_on_one_device_and_on_several(devices):
    one, log = update_once(PPO, reference=OTHERS)
    many, log_many = update_once(PPO, devices, reference=OTHERS)
    moved = jax.tree.map(lambda a, b: np.abs(a - b).max(), one.params, jax.device_get(PARAMS))
    assert max(jax.tree.leaves(moved)) > 0.1
    chex.assert_trees_all_close(one.params, many.params, rtol=0, atol=1e-6)
    chex.assert_trees_all_close(log, log_many, rtol=1e-4, atol=1e-6)


@several
def test_pmap_and_shard_map_agree_bitwise(devices):
    chex.assert_trees_all_equal(
        update_once(PPO, devices, reference=OTHERS),
        update_once(PPO, devices, "shard_map", reference=OTHERS),
    )


def test_micro_batches_change_nothing_but_rounding():
    whole, _ = update_once(PPO, reference=OTHERS)
    pieces, _ = update_once(
        PPO, micro_batch=3, reference=OTHERS
    )  # minibatches of 4 batch: pieces of 2
    chex.assert_trees_all_close(whole.params, pieces.params, rtol=0, atol=1e-6)


def test_the_gradient_s_norm_is_logged_as_it_is_before_clipping():
    first, log = update_once(replace(PPO, **ONE_STEP))
    clipped, same = update_once(
        replace(PPO, **ONE_STEP, optimizer=Sgd(learning_rate=0.5, max_grad_norm=1e-2))
    )
    moved = [
        jax.tree.map(lambda a, b: ((a - b) ** 2).sum(), after.params, jax.device_get(PARAMS))
        for after in (first, clipped)
    ]
    step = [sum(jax.tree.leaves(x)) ** 0.5 for x in moved]
    np.testing.assert_allclose(
        [log["gradient_norm"], same["gradient_norm"]], step[0] / 0.5, rtol=1e-3
    )
    np.testing.assert_allclose(step[1], 0.5e-2, rtol=1e-3)


def test_the_first_minibatch_sees_the_ratio_one():
    _, log = update_once(PPO, reference=OTHERS)
    assert abs(log["ratio_first_minibatch"] - 1) < 1e-5 < abs(log["ratio"] - 1)
    assert log["log_prob_gap_first_minibatch"] < 1e-5 < log["log_prob_gap"]


def test_kl_to_the_reference_is_zero_only_at_the_first_step_of_a_run():
    first, log = update_once(replace(PPO, **ONE_STEP))
    assert abs(log["kl_reference"]) < 1e-6
    _, log = update_once(replace(PPO, **ONE_STEP), params=first.params)
    assert log["kl_reference"] > 1e-5


def test_the_order_of_the_problems_does_not_change_a_full_batch_update():
    algorithm = replace(PPO, **ONE_STEP)
    setup, state = start(algorithm)
    trajectory, value, _ = play()
    order = jnp.array([3, 1, 7, 0, 2, 6, 5, 4])

    def step(trajectory, before, after):
        batch = make_batch(algorithm, trajectory, value._replace(before=before, after=after))
        return learner.take_gradient_steps(
            setup, [TASK.spec], algorithm, jax.random.key(1), state, [batch]
        )[0].params

    inputs = (trajectory, value.before, value.after)
    shuffled = jax.tree.map(lambda x: x[order], inputs)
    chex.assert_trees_all_close(
        on_one_device(step, *inputs), on_one_device(step, *shuffled), rtol=0, atol=1e-6
    )


def test_the_share_of_steps_without_a_gradient_is_logged():
    """Each step has one episode. A quarter is left out, and another quarter has no credit."""
    algorithm = replace(algorithms.REINFORCE, **SMALL, minibatches=16)
    setup, state = start(algorithm)
    trajectory, value, batch = play(algorithm)
    quarter = jnp.arange(16) // 4
    mask = batch.mask & (quarter != 0)[:, None, None]
    batch = batch._replace(
        mask=mask, credit=jnp.where(mask & (quarter != 1)[:, None, None], 1.0, 0.0)
    )

    def step(batch):
        key = jax.random.key(1)
        return learner.take_gradient_steps(setup, [TASK.spec], algorithm, key, state, [batch])[1]

    log = on_one_device(step, batch)
    assert log["no_gradient"] == 0.5 and log["gradient_norm"] > 0


def test_an_update_takes_the_learning_rate_of_its_own_step():
    second = dict(reference=OTHERS, step=jnp.int32(1))
    rising, _ = update_once(replace(PPO, optimizer=Sgd(learning_rate=0.5, warmup=4)), **second)
    halved, _ = update_once(replace(PPO, optimizer=Sgd(learning_rate=0.25)), **second)
    chex.assert_trees_all_close(rising.params, halved.params, rtol=0, atol=1e-6)


@pytest.mark.slow
def test_in_bfloat16_the_first_ratio_is_one_and_its_pass_is_charged(monkeypatch):
    def shift(*inputs, **options):
        episodes = rollout(*inputs, **options)
        return episodes._replace(log_prob=episodes.log_prob + 0.25 * episodes.mask)

    monkeypatch.setattr(experience, "rollout", shift)  # as if other programs had sampled
    algorithm = replace(algorithms.GSPO, **SMALL, minibatches=2)
    half = replace(POLICY, dtype="bfloat16")
    setup = learner.setup(half, algorithm, 4, 0)
    state = parallel.place(learner.init(algorithm, PARAMS), parallel.choose(1))
    _, log = jax.device_get(program(setup, 1, "pmap")(algorithm, state))
    ratio = log["ratio_first_minibatch"]
    assert log["log_prob_gap_first_minibatch"] < 1e-6 and ratio == pytest.approx(1, abs=1e-6)
    assert log["sampler_gap"] == pytest.approx(0.25, rel=1e-3)
    played_tokens = 8 * 2 + log["env_steps"] * (1 + 3)
    np.testing.assert_allclose(
        log["flops"], WEIGHTS * (2 * played_tokens + 16 * LENGTH * (6 + 2)), rtol=1e-5
    )


@pytest.mark.slow
@pytest.mark.parametrize("launcher", ["pmap", "shard_map"])
def test_in_bfloat16_acting_and_training_compute_equal_probabilities(launcher):
    algorithm, policy_ = (
        replace(algorithms.GSPO, problems=16, attempts=4),
        Policy(dtype="bfloat16"),
    )  # of the default size: tiny ones agree anyway
    run = Run(
        RunningSum(),
        algorithm,
        policy_,
        WarmStart(updates=30, num_demos=48),
        updates=1,
        chunk=1,
        eval_every=1,
        checkpoint_every=1,
        devices=1,
    )
    update = train(replace(run, launcher=launcher), evaluates=False).last
    assert update["sampler_gap"][0] < 1e-6 and update["log_prob_gap_first_minibatch"][0] < 1e-6
