"""One update: what it computes, what it must not depend on, and what it costs."""

from dataclasses import replace
from functools import cache

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from agentic_rl import algorithms, parallel
from agentic_rl.credit.returns import token_rewards
from agentic_rl.envs.running_sum import RunningSum
from agentic_rl.losses.kl import ReferenceKL
from agentic_rl.optimizer import Sgd
from agentic_rl.policy import transformer
from agentic_rl.policy.transformer import Policy
from agentic_rl.rollout.actors import Expert
from agentic_rl.rollout.rollout import rollout
from agentic_rl.training import experience, learner
from agentic_rl.training.experience import Weights, collect, explained_variance, make_batch
from agentic_rl.training.run import Run, WarmStart
from agentic_rl.training.train import train
from agentic_rl.values import ValueContext, from_state_values
from tests.toys import Ragged, babbler

TASK, SIZE = Ragged(), Policy(width=8, layers=1, heads=2, mlp=8)
SMALL = dict(problems=8, attempts=2, optimizer=Sgd(learning_rate=0.5))
# All that looks across episodes at once: whitened credit, a critic, KL and entropy, over several steps on one batch.
PPO = replace(
    algorithms.PPO,
    **SMALL,
    epochs=2,
    minibatches=4,
    kl=ReferenceKL(coefficient=0.1),
    entropy_coefficient=0.01,
)
ONE_STEP = dict(epochs=1, minibatches=1)
PARAMS, OTHERS = babbler(SIZE), babbler(SIZE, seed=7)


@cache
def program(setup, devices, launcher):
    def update(algorithm, state):
        return learner.update(setup, TASK, algorithm, jax.random.key(0), state)

    return parallel.launch(update, parallel.choose(devices), launcher)


def start(algorithm, micro_batch=0):
    """Set-up and state before the first update."""
    setup = learner.setup(SIZE, algorithm, 4, micro_batch)
    return setup, learner.init(algorithm, PARAMS)


def updated(algorithm, devices=1, launcher="pmap", micro_batch=0, **changes):
    """State and metrics after an update of the first state with `changes`."""
    setup, state = start(algorithm, micro_batch)
    state = parallel.place(state._replace(**changes), parallel.choose(devices))
    return jax.device_get(program(setup, devices, launcher)(algorithm, state))


def on_one_device(f, *inputs):
    """`f` jitted, with an axis of one device around it."""
    mapped = jax.jit(
        jax.vmap(lambda _, inputs: f(*inputs), in_axes=(0, None), axis_name=parallel.AXIS)
    )
    return jax.tree.map(lambda x: x[0], mapped(jnp.arange(1), inputs))


@cache
def played(algorithm=PPO):
    """A batch of the first policy's episodes, the critic's values of them, and both as rows to train on."""
    problem, key, weights = (
        jnp.arange(algorithm.problems),
        jax.random.key(0),
        Weights(PARAMS, PARAMS, PARAMS),
    )
    trajectory, _ = on_one_device(
        lambda w: collect(SIZE, TASK, algorithm, w, key, problem, len(problem)), weights
    )
    value, _ = algorithm.values(ValueContext(TASK, SIZE, PARAMS, problem, key), trajectory)
    return trajectory, value, make_batch(algorithm, trajectory, value)


def test_the_batch_of_these_tests_is_ragged():
    mask = np.asarray(played()[0].mask)
    assert {1, 2, 3} <= set(mask.sum(-1).ravel()) and len(set(mask.any(-1).sum(-1).ravel())) >= 2
    assert (
        mask.sum(-1)[:4].sum() != mask.sum(-1)[4:].sum()
    )  # of the tokens, two devices get unlike shares


several = pytest.mark.parametrize("devices", [2, pytest.param(4, marks=pytest.mark.slow)])


@several
def test_an_update_is_the_same_on_one_device_and_on_several(devices):
    one, log = updated(PPO, reference=OTHERS)
    many, log_many = updated(PPO, devices, reference=OTHERS)
    moved = jax.tree.map(lambda a, b: np.abs(a - b).max(), one.params, jax.device_get(PARAMS))
    assert max(jax.tree.leaves(moved)) > 0.1
    chex.assert_trees_all_close(one.params, many.params, rtol=0, atol=1e-6)
    chex.assert_trees_all_close(log, log_many, rtol=1e-4, atol=1e-6)


@several
def test_pmap_and_shard_map_agree_bitwise(devices):
    chex.assert_trees_all_equal(
        updated(PPO, devices, reference=OTHERS),
        updated(PPO, devices, "shard_map", reference=OTHERS),
    )


def test_micro_batches_change_nothing_but_rounding():
    whole, _ = updated(PPO, reference=OTHERS)
    pieces, _ = updated(PPO, micro_batch=3, reference=OTHERS)  # minibatches of 4 rows: pieces of 2
    chex.assert_trees_all_close(whole.params, pieces.params, rtol=0, atol=1e-6)


def mean_loss(algorithm, params, rows):
    """The loss as papers write it, row by row: clipped ratio, value, KL and entropy terms, then their mean over tokens."""
    logits, value = transformer.apply(SIZE, params, TASK.spec, rows.token, rows.valid)
    log_prob = jax.nn.log_softmax(logits)
    entropy = -(jnp.exp(log_prob) * log_prob).sum(-1)
    log_prob = jnp.take_along_axis(log_prob, rows.target[..., None], -1)[..., 0]
    ratio, away = jnp.exp(log_prob - rows.old_log_prob), rows.reference_log_prob - log_prob
    near = rows.old_value + jnp.clip(
        value - rows.old_value, -algorithm.values.clip, algorithm.values.clip
    )
    errors = 0.5 * jnp.maximum((value - rows.value_target) ** 2, (near - rows.value_target) ** 2)
    token = -jnp.minimum(ratio * rows.credit, jnp.clip(ratio, 0.8, 1.2) * rows.credit)
    token += (
        algorithm.values.coefficient * errors + 0.1 * (jnp.exp(away) - away - 1) - 0.01 * entropy
    )
    by_row = [token[i][np.asarray(rows.mask[i])] for i in range(len(token))]
    if algorithm.aggregation == "token_mean":
        return jnp.concatenate(by_row).mean()
    if algorithm.aggregation == "sequence_mean":
        return jnp.stack([row.mean() for row in by_row]).mean()
    return jnp.stack(
        [row.sum() / (TASK.spec.num_turns * TASK.spec.action_length) for row in by_row]
    ).mean()


@cache
def differentiated(aggregation):
    """The gradient of the played rows at other weights, and what is logged of it."""
    algorithm = replace(PPO, aggregation=aggregation)
    setup, rows = learner.setup(SIZE, algorithm, 4, 2), played()[2]
    f = parallel.launch(
        lambda p, b: learner.gradient(setup, [TASK.spec], algorithm, p, [b]),
        parallel.choose(2),
        "pmap",
    )
    return jax.device_get(f(OTHERS, rows))


@pytest.mark.parametrize("aggregation", ["token_mean", "sequence_mean", "constant"])
def test_the_gradient_over_devices_and_micro_batches_is_that_of_the_mean_loss_which_is_logged(
    aggregation,
):
    expected, direct = jax.value_and_grad(
        lambda p: mean_loss(replace(PPO, aggregation=aggregation), p, played()[2])
    )(OTHERS)
    slope, log = differentiated(aggregation)
    chex.assert_trees_all_close(slope, direct, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(log["loss"], expected, rtol=1e-5)


def test_each_diagnostic_is_the_mean_over_tokens_of_what_its_name_says():
    rows = jax.tree.map(
        lambda x: np.asarray(x, float) if x.dtype == jnp.float32 else np.asarray(x), played()[2]
    )
    logits, value = (
        np.asarray(x, float)
        for x in transformer.apply(
            SIZE, OTHERS, TASK.spec, *map(jnp.asarray, (rows.token, rows.valid))
        )
    )
    every = logits - np.log(np.exp(logits).sum(-1, keepdims=True))
    log_prob = np.take_along_axis(every, rows.target[..., None], -1)[..., 0]
    gap, away = log_prob - rows.old_log_prob, rows.reference_log_prob - log_prob
    near = rows.old_value + np.clip(value - rows.old_value, -PPO.values.clip, PPO.values.clip)
    expected = {
        "entropy": -(np.exp(every) * every).sum(-1),
        "nll": -log_prob,
        "ratio": np.exp(gap),
        "log_prob_gap": abs(gap),
        "kl_old": np.exp(-gap) + gap - 1,
        "kl_reference": np.exp(away) - away - 1,
        "value_loss": np.maximum((value - rows.value_target) ** 2, (near - rows.value_target) ** 2)
        / 2,
        "clip_fraction_low": (np.exp(gap) < 0.8) & (rows.credit < 0),
        "clip_fraction_high": (np.exp(gap) > 1.2) & (rows.credit > 0),
    }
    log = differentiated("sequence_mean")[1]
    assert log.keys() == expected.keys() | {"loss"}
    for name, x in expected.items():
        np.testing.assert_allclose(log[name], x[rows.mask].mean(), rtol=1e-4, err_msg=name)
        assert log[name] != 0, name


def test_the_gradient_s_norm_is_logged_as_it_is_before_clipping():
    first, log = updated(replace(PPO, **ONE_STEP))
    clipped, same = updated(
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
    _, log = updated(PPO, reference=OTHERS)
    assert abs(log["ratio_first_minibatch"] - 1) < 1e-5 < abs(log["ratio"] - 1)
    assert log["log_prob_gap_first_minibatch"] < 1e-5 < log["log_prob_gap"]


def test_kl_to_the_reference_is_zero_at_the_first_step_of_a_run_and_not_after():
    first, log = updated(replace(PPO, **ONE_STEP))
    assert abs(log["kl_reference"]) < 1e-6
    _, log = updated(replace(PPO, **ONE_STEP), params=first.params)
    assert log["kl_reference"] > 1e-5


def test_the_order_of_the_problems_does_not_change_a_full_batch_update():
    algorithm = replace(PPO, **ONE_STEP)
    setup, state = start(algorithm)
    trajectory, value, _ = played()
    order = jnp.array([3, 1, 7, 0, 2, 6, 5, 4])

    def step(trajectory, before, after):
        batch = make_batch(algorithm, trajectory, value._replace(before=before, after=after))
        return learner.train(setup, [TASK.spec], algorithm, jax.random.key(1), state, [batch])[
            0
        ].params

    inputs = (trajectory, value.before, value.after)
    shuffled = jax.tree.map(lambda x: x[order], inputs)
    chex.assert_trees_all_close(
        on_one_device(step, *inputs), on_one_device(step, *shuffled), rtol=0, atol=1e-6
    )


def test_the_share_of_steps_without_a_gradient_is_logged():
    """One episode a step; a quarter of the episodes was left out, another quarter has no credit."""
    algorithm = replace(algorithms.REINFORCE, **SMALL, minibatches=16)
    setup, state = start(algorithm)
    trajectory, value, batch = played(algorithm)
    quarter = jnp.arange(16) // 4
    mask = batch.mask & (quarter != 0)[:, None, None]
    batch = batch._replace(
        mask=mask, credit=jnp.where(mask & (quarter != 1)[:, None, None], 1.0, 0.0)
    )
    step = lambda b: learner.train(setup, [TASK.spec], algorithm, jax.random.key(1), state, [b])[1]  # noqa: E731
    log = on_one_device(step, batch)
    assert log["no_gradient"] == 0.5 and log["gradient_norm"] > 0


def test_an_update_takes_the_learning_rate_of_its_own_step():
    second = dict(reference=OTHERS, step=jnp.int32(1))
    rising, _ = updated(replace(PPO, optimizer=Sgd(learning_rate=0.5, warmup=4)), **second)
    halved, _ = updated(replace(PPO, optimizer=Sgd(learning_rate=0.25)), **second)
    chex.assert_trees_all_close(rising.params, halved.params, rtol=0, atol=1e-6)


WEIGHTS = sum(x.size for x in jax.tree.leaves(PARAMS))
LENGTH = TASK.spec.context_length


def test_fixed_demonstrations_are_paid_for_once():
    sft = replace(algorithms.SFT, **SMALL, actor=Expert(num_demos=12))
    first, log = updated(sft)
    state, again = updated(sft, step=first.step, drawn=first.drawn)
    _, third = updated(sft, step=state.step, drawn=state.drawn)
    turns = (
        2 * 3
    )  # attempts x turns: a demonstration never leaves early, and an action is a digit and END
    assert [x["env_steps"] for x in (log, again, third)] == [8 * turns, 4 * turns, 0]
    assert [x["expert_labels"] for x in (log, again, third)] == [16 * turns, 8 * turns, 0]
    assert [x["trained_tokens"] for x in (log, again, third)] == [16 * turns] * 3
    assert log["generated_tokens"] == 0 and state.drawn == 16
    np.testing.assert_allclose(log["flops"], 6 * WEIGHTS * 16 * LENGTH, rtol=1e-6)


def test_dagger_pays_for_a_label_at_every_turn_the_policy_plays():
    dagger = replace(algorithms.DAGGER, **SMALL)
    trajectory = played(dagger)[0]
    turns = trajectory.mask.any(-1).sum()
    _, log = updated(dagger)
    assert log["expert_labels"] == 2 * turns == log["trained_tokens"]  # a digit and END
    assert log["env_steps"] == turns < 16 * 3
    assert log["generated_tokens"] == trajectory.mask.sum()


def test_reinforcement_learning_pays_for_its_own_steps_and_no_labels():
    trajectory, _, _ = played()
    _, log = updated(PPO, reference=OTHERS)
    turns, said = trajectory.mask.any(-1).sum(), trajectory.mask.sum()
    assert (log["env_steps"], log["generated_tokens"], log["expert_labels"]) == (turns, said, 0)
    assert log["trained_tokens"] == 2 * said  # two epochs
    played_tokens = 8 * 2 + turns * (1 + 3)  # each prompt once, then observations and actions
    trained = (
        16 * LENGTH * (6 * 2 + 2 * 2)
    )  # two epochs; forward passes of the critic and of the reference
    np.testing.assert_allclose(log["flops"], WEIGHTS * (2 * played_tokens + trained), rtol=1e-5)


def reward_to_go(trajectory):
    """The undiscounted reward from each token's turn on, [N, G, T, A]."""
    return np.cumsum(np.asarray(trajectory.reward)[..., ::-1], -1)[..., ::-1, None].repeat(
        TASK.spec.action_length, -1
    )


def test_explained_variance_is_one_for_a_perfect_critic_zero_for_a_constant_and_negative_for_a_wrong_one():
    trajectory, _, _ = played()
    to_go = jnp.asarray(reward_to_go(trajectory))
    critics = (to_go, jnp.full_like(to_go, 3.0), -to_go)
    values = [
        from_state_values(before, token_rewards(trajectory), trajectory.mask, 1.0)
        for before in critics
    ]
    np.testing.assert_allclose(
        [explained_variance(v, trajectory.mask) for v in values], [1, 0, -3], atol=1e-5
    )


def test_explained_variance_is_zero_where_all_returns_are_alike():
    trajectory, value, _ = played()
    flat = from_state_values(value.before, jnp.zeros(trajectory.mask.shape), trajectory.mask, 1.0)
    assert explained_variance(flat, trajectory.mask) == 0


def test_an_update_with_a_critic_logs_the_variance_it_explains_of_the_tokens_written():
    trajectory, value, _ = played()
    _, log = updated(PPO, reference=OTHERS)
    mask, to_go = np.asarray(trajectory.mask), reward_to_go(trajectory)
    error = to_go - np.asarray(value.before)
    np.testing.assert_allclose(
        log["explained_variance"], 1 - error[mask].var() / to_go[mask].var(), rtol=1e-4
    )
    assert "explained_variance" not in updated(replace(algorithms.DAGGER, **SMALL))[1]


@pytest.mark.slow
def test_in_bfloat16_the_first_minibatch_sees_the_ratio_one_and_the_pass_is_charged(monkeypatch):
    def shift(*inputs, **options):
        episodes = rollout(*inputs, **options)
        return episodes._replace(log_prob=episodes.log_prob + 0.25 * episodes.mask)

    monkeypatch.setattr(experience, "rollout", shift)  # as if other programs had sampled
    algorithm = replace(algorithms.GSPO, **SMALL, minibatches=2)
    half = replace(SIZE, dtype="bfloat16")
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
def test_in_bfloat16_a_policy_acts_with_the_probabilities_that_training_computes(launcher):
    row, policy_ = (
        replace(algorithms.GSPO, problems=16, attempts=4),
        Policy(dtype="bfloat16"),
    )  # of the default size: tiny ones agree anyway
    run = Run(
        RunningSum(),
        row,
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
