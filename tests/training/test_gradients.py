"""The loss and its gradient: they are what the papers write, and so is every diagnostic."""

from dataclasses import replace
from functools import cache

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from agentic_rl import parallel
from agentic_rl.policy import transformer
from agentic_rl.training import gradients, learner
from tests.training.toy_updates import (
    OTHERS,
    POLICY,
    PPO,
    TASK,
    play,
)


def mean_loss(algorithm, params, batch):
    """Returns the loss as papers write it, sequence by sequence.

    It is the mean over tokens of the clipped ratio, value, KL and entropy terms.
    """
    logits, value = transformer.apply(POLICY, params, TASK.spec, batch.token, batch.valid)
    log_prob = jax.nn.log_softmax(logits)
    entropy = -(jnp.exp(log_prob) * log_prob).sum(-1)
    log_prob = jnp.take_along_axis(log_prob, batch.target[..., None], -1)[..., 0]
    ratio, away = jnp.exp(log_prob - batch.old_log_prob), batch.reference_log_prob - log_prob
    near = batch.old_value + jnp.clip(
        value - batch.old_value, -algorithm.values.clip, algorithm.values.clip
    )
    errors = 0.5 * jnp.maximum((value - batch.value_target) ** 2, (near - batch.value_target) ** 2)
    token = -jnp.minimum(ratio * batch.credit, jnp.clip(ratio, 0.8, 1.2) * batch.credit)
    token += (
        algorithm.values.coefficient * errors + 0.1 * (jnp.exp(away) - away - 1) - 0.01 * entropy
    )
    sequences = [token[i][np.asarray(batch.mask[i])] for i in range(len(token))]
    if algorithm.aggregation == "token_mean":
        return jnp.concatenate(sequences).mean()
    if algorithm.aggregation == "sequence_mean":
        return jnp.stack([sequence.mean() for sequence in sequences]).mean()
    return jnp.stack(
        [sequence.sum() / (TASK.spec.num_turns * TASK.spec.action_length) for sequence in sequences]
    ).mean()


@cache
def differentiate(aggregation):
    """Returns the gradient of the batch at other weights, and what is logged of it."""
    algorithm = replace(PPO, aggregation=aggregation)
    setup, batch = learner.setup(POLICY, algorithm, 4, 2), play()[2]
    f = parallel.launch(
        lambda p, b: gradients.gradient(setup, [TASK.spec], algorithm, p, [b]),
        parallel.choose(2),
        "pmap",
    )
    return jax.device_get(f(OTHERS, batch))


@pytest.mark.parametrize("aggregation", ["token_mean", "sequence_mean", "constant"])
def test_the_gradient_is_that_of_the_mean_loss_which_is_logged(
    aggregation,
):
    expected, direct = jax.value_and_grad(
        lambda p: mean_loss(replace(PPO, aggregation=aggregation), p, play()[2])
    )(OTHERS)
    slope, log = differentiate(aggregation)
    chex.assert_trees_all_close(slope, direct, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(log["loss"], expected, rtol=1e-5)


def test_each_diagnostic_is_the_mean_over_tokens_of_what_its_name_says():
    batch = jax.tree.map(
        lambda x: np.asarray(x, float) if x.dtype == jnp.float32 else np.asarray(x), play()[2]
    )
    logits, value = (
        np.asarray(x, float)
        for x in transformer.apply(
            POLICY, OTHERS, TASK.spec, *map(jnp.asarray, (batch.token, batch.valid))
        )
    )
    every = logits - np.log(np.exp(logits).sum(-1, keepdims=True))
    log_prob = np.take_along_axis(every, batch.target[..., None], -1)[..., 0]
    gap, away = log_prob - batch.old_log_prob, batch.reference_log_prob - log_prob
    near = batch.old_value + np.clip(value - batch.old_value, -PPO.values.clip, PPO.values.clip)
    expected = {
        "entropy": -(np.exp(every) * every).sum(-1),
        "nll": -log_prob,
        "ratio": np.exp(gap),
        "log_prob_gap": abs(gap),
        "kl_old": np.exp(-gap) + gap - 1,
        "kl_reference": np.exp(away) - away - 1,
        "value_loss": np.maximum(
            (value - batch.value_target) ** 2, (near - batch.value_target) ** 2
        )
        / 2,
        "clip_fraction_low": (np.exp(gap) < 0.8) & (batch.credit < 0),
        "clip_fraction_high": (np.exp(gap) > 1.2) & (batch.credit > 0),
    }
    log = differentiate("sequence_mean")[1]
    assert log.keys() == expected.keys() | {"loss"}
    for name, x in expected.items():
        np.testing.assert_allclose(log[name], x[batch.mask].mean(), rtol=1e-4, err_msg=name)
        assert log[name] != 0, name
