"""Estimates of the KL divergence and their gradients, in expectation by enumeration."""

from functools import cache

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from agentic_rl.credit.returns import token_to_go
from agentic_rl.losses import kl
from agentic_rl.rewards import KlReward
from tests.batches import blank, close
from tests.toys import compiled

V = 16
ESTIMATORS = ("k1", "k2", "k3")


def random(seed, shape=(V,)):
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def log_softmax(logits):
    """Returns log-probabilities over the last axis, in numpy."""
    return logits - np.log(np.exp(logits).sum(-1, keepdims=True))


def divergence(log_p, log_q):
    """Returns KL(p ‖ q) and its gradient by p's logits."""
    p = np.exp(log_p)
    total = (p * (log_p - log_q)).sum()
    return total, p * (log_p - log_q - total)


@cache
def program():
    """Returns a function to an estimate's mean over tokens drawn with `prob`, and its gradient.

    The gradient is by the logits, through the estimate alone.
    """

    def mean(logits, reference, prob, how):
        return (prob * kl.estimate(how, jax.nn.log_softmax(logits), reference)).sum()

    return jax.jit(jax.value_and_grad(mean), static_argnames="how")


def enumerated(how, logits, reference):
    """Returns an estimate's expected value on the policy's samples, and its gradient as a loss."""
    return program()(logits, reference, np.exp(log_softmax(logits)), how)


@pytest.mark.parametrize("how", ESTIMATORS)
def test_an_estimate_is_its_formula(how):
    log_prob, reference = -np.abs(random(0)), -np.abs(random(1))
    d = reference.astype(float) - log_prob
    close(
        kl.estimate(how, jnp.asarray(log_prob), jnp.asarray(reference)),
        {"k1": -d, "k2": d**2 / 2, "k3": np.exp(d) - d - 1}[how],
    )


def test_k1_and_k3_are_unbiased_and_k2_nearly_so_for_near_policies():
    logits, away = random(0), random(1)
    for distance, near in ((1.0, False), (0.01, True)):
        reference = log_softmax(logits + distance * away)
        expected = divergence(log_softmax(logits), reference)[0]
        for how in ("k1", "k3"):
            close(
                enumerated(how, logits, reference)[0],
                expected,
                rtol=1e-4 if distance == 1 else 1e-2,
            )
        assert (abs(enumerated("k2", logits, reference)[0] / expected - 1) < 0.05) == near


def test_as_a_loss_k2_has_the_gradient_of_the_kl_k3_of_the_reverse_kl():
    logits, reference = random(0), log_softmax(random(1))
    expected = {
        "k1": np.zeros(V),
        "k2": divergence(log_softmax(logits), reference)[1],
        "k3": np.exp(log_softmax(logits)) - np.exp(reference),  # of −Σ π_ref log π
    }
    for how in ESTIMATORS:
        close(enumerated(how, logits, reference)[1], expected[how], err_msg=how, atol=1e-6)
    assert np.abs(expected["k2"] - expected["k3"]).max() > 0.01


@given(st.floats(-20, 0), st.floats(-20, 0))
def test_k2_and_k3_are_never_negative(log_prob, reference):
    assert all(
        kl.estimate(how, jnp.float32(log_prob), jnp.float32(reference)) >= 0 for how in ("k2", "k3")
    )


def test_k3_keeps_its_digits_where_the_policies_nearly_agree():
    close(kl.estimate("k3", jnp.float32(0.0), jnp.float32(1e-3)), 1e-6 / 2, rtol=1e-2, atol=0)


def test_the_term_of_the_loss_is_the_coefficient_times_the_estimate():
    log_prob, reference = -np.abs(random(0)), -np.abs(random(1))
    for how in ESTIMATORS:
        result = kl.ReferenceKL(coefficient=0.3, estimator=how)(
            jnp.asarray(log_prob), jnp.asarray(reference)
        )
        close(
            result,
            0.3 * np.asarray(kl.estimate(how, jnp.asarray(log_prob), jnp.asarray(reference))),
        )
    assert kl.ReferenceKL().reads_reference and not kl.NoKL().reads_reference


def test_a_clamped_estimate_is_flat_beyond_the_clamp_and_unchanged_below():
    d = np.linspace(-15, 5, 41, dtype=np.float32)
    kl_, plain = kl.ReferenceKL(2.0, "k3", clamp=10.0), kl.ReferenceKL(2.0, "k3")
    (result, slope), (expected, steep) = (
        jax.vmap(jax.value_and_grad(lambda x, f=f: f(x, jnp.float32(0))))(-d) for f in (kl_, plain)
    )
    close(result, np.minimum(expected, 20.0))
    close(slope, np.where(expected > 20.0, 0.0, steep))


# In the reward


def bandit(log_prob, reference, reward):
    """Returns one problem of one turn, at which every sequence of tokens is written once."""
    log_prob, reference, reward = (
        x.astype(np.float32)[None, :, None] for x in (log_prob, reference, reward)
    )
    return blank(*log_prob.shape, log_prob=log_prob, reference_log_prob=reference, reward=reward)


@cache
def credited():
    """Returns a function to the reward to go with the KL in the reward."""
    return compiled(lambda reward, batch: token_to_go(reward(batch))[0, :, 0])


@pytest.mark.parametrize("how", ESTIMATORS)
def test_only_k1_in_the_reward_gives_the_gradient_of_return_minus_kl(how):
    """In an enumerated bandit, Σ π · credit · ∇ log π is compared with ∇(Σ π · reward − c · KL)."""
    logits, reference, reward = random(0), log_softmax(random(1)), random(2)
    log_prob = log_softmax(logits)
    p = np.exp(log_prob)
    credit = np.asarray(
        credited()(
            KlReward(coefficient=0.7, estimator=how),
            bandit(log_prob[:, None], reference[:, None], reward),
        )
    )[:, 0]
    score_gradient = p * credit - p * (p * credit).sum()
    expected = p * reward - p * (p * reward).sum() - 0.7 * divergence(log_prob, reference)[1]
    assert np.allclose(score_gradient, expected, rtol=1e-4, atol=1e-5) == (how == "k1")


def test_with_k1_in_the_reward_a_token_answers_for_later_kl_too():
    """All nine sequences of two tokens are compared with ∇(KL(first) + E KL(second | first))."""
    first, second = (random(i, shape).astype(float) for i, shape in ((0, 3), (1, (3, 3))))
    other_first, other_second = (
        log_softmax(random(i, shape)) for i, shape in ((2, 3), (3, (3, 3)))
    )
    log_p, log_q = log_softmax(first), log_softmax(second)
    x, y = np.divmod(np.arange(9), 3)
    log_prob, reference = (
        np.stack([a[x], b[x, y]], 1) for a, b in ((log_p, log_q), (other_first, other_second))
    )
    batch = bandit(log_prob, reference, np.zeros(9))
    credit = np.asarray(credited()(KlReward(coefficient=1.0), batch))

    weight = np.exp(log_prob.sum(1))[:, None] * credit
    by_first = weight[:, 0] @ (np.eye(3)[x] - np.exp(log_p))
    by_second = np.array([weight[x == k, 1] @ (np.eye(3) - np.exp(log_q[k])) for k in range(3)])
    of_second = [divergence(*of) for of in zip(log_q, other_second)]
    p, later = np.exp(log_p), np.array([total for total, _ in of_second])
    close(-by_first, divergence(log_p, other_first)[1] + p * (later - p @ later))
    close(-by_second, p[:, None] * np.array([slope for _, slope in of_second]))
