"""What is maximised per token, how tokens add up, and the terms beside it."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from agentic_rl import losses
from agentic_rl.losses import ClippedRatio, LogLikelihood
from tests.toys import compiled

CLIP = ClippedRatio(clip_low=0.2, clip_high=0.3)
RATIO = jnp.array([0.5, 0.79, 0.9, 1.0, 1.2, 1.31, 2.0])


def random(seed=0, shape=(5, 3, 2)):
    return jax.random.normal(jax.random.key(seed), shape)


def slope(surrogate, ratio, credit):
    """d objective / d log π of each token."""
    return jax.grad(lambda log_prob: surrogate(log_prob, jnp.zeros_like(ratio), credit).sum())(jnp.log(ratio))


def test_log_likelihood_is_credit_times_log_prob_whoever_acted():
    log_prob, credit = -jnp.abs(random(0)), random(1)
    for old in (random(2), random(3)):
        np.testing.assert_allclose(LogLikelihood()(log_prob, old, credit), np.asarray(credit) * np.asarray(log_prob), rtol=1e-6)


@pytest.mark.parametrize("credit", [-2.0, 2.0])
def test_clipped_ratio_is_the_smaller_of_the_two_products(credit):
    found = CLIP(jnp.log(RATIO), jnp.zeros_like(RATIO), jnp.full_like(RATIO, credit))
    expected = [min(r * credit, min(max(r, 0.8), 1.3) * credit) for r in np.asarray(RATIO)]
    np.testing.assert_allclose(found, expected, rtol=1e-5)


def test_good_actions_stop_being_reinforced_above_the_clip_and_bad_ones_stop_being_suppressed_below_it():
    for credit, cut in ((2.0, RATIO > 1.3), (-2.0, RATIO < 0.8)):
        expected = jnp.where(cut, 0.0, RATIO * credit)
        np.testing.assert_allclose(slope(CLIP, RATIO, jnp.full_like(RATIO, credit)), expected, rtol=1e-5)
        assert cut.any() and not cut.all()


def test_the_clip_s_diagnostics_count_the_tokens_without_gradient():
    for sign in (-1.0, 1.0):
        credit = jnp.full_like(RATIO, sign)
        active = CLIP.diagnostics(jnp.log(RATIO), jnp.zeros_like(RATIO), credit)
        side, other = ("low", "high") if sign < 0 else ("high", "low")
        np.testing.assert_array_equal(active[f"clip_fraction_{side}"] == 1, slope(CLIP, RATIO, credit) == 0)
        assert not active[f"clip_fraction_{other}"].any()


def test_where_the_policy_has_not_moved_the_clipped_ratio_s_gradient_is_the_policy_gradient():
    credit, one = random(1), jnp.ones((5, 3, 2))
    np.testing.assert_allclose(slope(CLIP, one, credit), slope(LogLikelihood(), one, credit), rtol=1e-6)


def test_without_bounds_the_clipped_ratio_is_importance_sampling():
    wide = replace(CLIP, clip_low=1e9, clip_high=1e9)
    np.testing.assert_allclose(wide(jnp.log(RATIO), jnp.zeros(7), -RATIO), -(RATIO**2), rtol=1e-5)


def lengths(*of):
    """A mask [B, T=2, A=3] whose sequences have so many tokens."""
    return jnp.arange(6).reshape(1, 2, 3) < jnp.array(of)[:, None, None]


def test_token_mean_weighs_all_tokens_alike():
    weight = losses.token_weight([lengths(6, 3, 1)], "token_mean")[0]
    np.testing.assert_allclose(weight, lengths(6, 3, 1) / 10, rtol=1e-6)


def test_sequence_mean_weighs_all_sequences_alike():
    mask = lengths(6, 3, 1)
    weight = losses.token_weight([mask], "sequence_mean")[0]
    np.testing.assert_allclose(weight.sum((1, 2)), 1 / 3, rtol=1e-6)
    np.testing.assert_allclose(weight, mask / np.array([6, 3, 1])[:, None, None] / 3, rtol=1e-6)


def test_constant_gives_every_token_the_weight_it_has_in_a_batch_without_padding():
    for mask in (lengths(6, 3, 1), lengths(6, 6, 6)):
        np.testing.assert_allclose(losses.token_weight([mask], "constant")[0], mask / 18, rtol=1e-6)


@pytest.mark.parametrize("aggregation", ["token_mean", "sequence_mean", "constant"])
def test_padding_has_no_weight_and_full_sequences_weigh_the_same_however_they_are_added_up(aggregation):
    assert (losses.token_weight([lengths(6, 3, 0)], aggregation)[0][~lengths(6, 3, 0)] == 0).all()
    np.testing.assert_allclose(losses.token_weight([lengths(6, 6)], aggregation)[0], 1 / 12, rtol=1e-6)
    assert (losses.token_weight([lengths(0, 0)], aggregation)[0] == 0).all()


def test_a_sequence_without_tokens_still_counts_as_a_sequence():
    np.testing.assert_allclose(losses.token_weight([lengths(6, 0)], "sequence_mean")[0].sum(), 0.5, rtol=1e-6)


def test_entropy_is_the_expected_surprise_and_at_most_that_of_the_uniform():
    logits = 3 * random(shape=(4, 8))
    p = np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)
    np.testing.assert_allclose(losses.entropy(logits), [-sum(q * np.log(q) for q in row) for row in p], rtol=1e-5)
    np.testing.assert_allclose(losses.entropy(jnp.full((1, 8), 5.0)), np.log(8), rtol=1e-6)
    np.testing.assert_allclose(losses.entropy(jnp.array([[1e4, 0.0, 0.0]])), 0, atol=1e-6)


@given(st.floats(-20, 0), st.floats(-20, 0))
def test_k3_is_never_negative(log_prob, reference):
    assert losses.kl_k3(jnp.float32(log_prob), jnp.float32(reference)) >= 0


def test_k3_keeps_its_digits_where_the_policies_nearly_agree():
    d = np.float32(1e-3)
    np.testing.assert_allclose(losses.kl_k3(jnp.float32(0.0), jnp.float32(d)), d**2 / 2, rtol=1e-2)


def test_the_expectation_of_k3_is_the_kl_divergence_and_its_gradient_as_a_loss_is_that_of_the_kl_the_other_way_round():
    """By enumeration. The gradient through one sample's k3 alone, not through its probability, is that of KL(π_ref ‖ π)."""
    logits, reference = random(0, (16,)), jax.nn.log_softmax(random(1, (16,)))

    def mean_k3(logits, weight):
        return (weight * losses.kl_k3(jax.nn.log_softmax(logits), reference)).sum()

    log_p, p = jax.nn.log_softmax(logits), jax.nn.softmax(logits)
    np.testing.assert_allclose(mean_k3(logits, p), (p * (log_p - reference)).sum(), rtol=1e-5)
    pulled = compiled(jax.grad(mean_k3))(logits, p)
    np.testing.assert_allclose(pulled, p - jnp.exp(reference), rtol=1e-4, atol=1e-6)


def test_value_loss_is_half_the_larger_of_the_two_squares():
    value, old, target = (np.asarray(random(i)) for i in range(3))
    clipped = np.clip(value, old - 0.2, old + 0.2)
    expected = 0.5 * np.maximum((value - target) ** 2, (clipped - target) ** 2)
    np.testing.assert_allclose(losses.value_loss(jnp.asarray(value), jnp.asarray(old), jnp.asarray(target), 0.2), expected, rtol=1e-5)


def test_a_value_is_not_pushed_further_than_the_clip_but_pulled_back_from_beyond():
    def pull(value, target):
        return jax.grad(lambda v: losses.value_loss(v, jnp.float32(0), jnp.float32(target), 0.2))(jnp.float32(value))

    assert pull(0.5, 1.0) == 0  # already further than 0.2 towards the target
    assert pull(0.1, 1.0) == pytest.approx(0.1 - 1.0)
    assert pull(0.5, -1.0) == pytest.approx(0.5 + 1.0)
