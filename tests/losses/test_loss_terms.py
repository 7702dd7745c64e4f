"""How tokens add up to a loss, and the loss terms beside the surrogate."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from agentic_rl.losses import loss_terms


def random(seed=0, shape=(5, 3, 2)):
    return jax.random.normal(jax.random.key(seed), shape)


def lengths(*of):
    """Returns a mask [B, T=2, A=3] whose sequences have so many tokens."""
    return jnp.arange(6).reshape(1, 2, 3) < jnp.array(of)[:, None, None]


def test_token_mean_weighs_all_tokens_alike():
    weight = loss_terms.token_weight([lengths(6, 3, 1)], "token_mean")[0]
    np.testing.assert_allclose(weight, lengths(6, 3, 1) / 10, rtol=1e-6)


def test_sequence_mean_weighs_all_sequences_alike():
    mask = lengths(6, 3, 1)
    weight = loss_terms.token_weight([mask], "sequence_mean")[0]
    np.testing.assert_allclose(weight.sum((1, 2)), 1 / 3, rtol=1e-6)
    np.testing.assert_allclose(weight, mask / np.array([6, 3, 1])[:, None, None] / 3, rtol=1e-6)


def test_constant_weighs_tokens_as_in_a_batch_without_padding():
    for mask in (lengths(6, 3, 1), lengths(6, 6, 6)):
        np.testing.assert_allclose(
            loss_terms.token_weight([mask], "constant")[0], mask / 18, rtol=1e-6
        )


@pytest.mark.parametrize("aggregation", ["token_mean", "sequence_mean", "constant"])
def test_padding_has_no_weight_and_full_sequences_weigh_the_same(aggregation):
    assert (
        loss_terms.token_weight([lengths(6, 3, 0)], aggregation)[0][~lengths(6, 3, 0)] == 0
    ).all()
    np.testing.assert_allclose(
        loss_terms.token_weight([lengths(6, 6)], aggregation)[0], 1 / 12, rtol=1e-6
    )
    assert (loss_terms.token_weight([lengths(0, 0)], aggregation)[0] == 0).all()


@pytest.mark.parametrize("aggregation", ["token_mean", "sequence_mean", "constant"])
def test_a_sequence_without_tokens_does_not_count(aggregation):
    with_it, without = (
        loss_terms.token_weight([lengths(*of)], aggregation)[0] for of in ((6, 0, 3), (6, 3))
    )
    np.testing.assert_allclose(with_it[jnp.array([0, 2])], without, rtol=1e-6)


def test_the_tasks_of_a_mixture_are_counted_together():
    masks = [
        lengths(6, 3, 0),
        lengths(2, 0, 1)[:, :1, :2],
    ]  # 9 tokens of 2 sequences of 6, and 3 of 2 of 2
    for aggregation, one_of_3, one_of_1 in (
        ("token_mean", 1 / 12, 1 / 12),
        ("sequence_mean", 1 / 12, 1 / 4),
        ("constant", 1 / 16, 1 / 16),
    ):
        first, second = loss_terms.token_weight(masks, aggregation)
        assert (first[1, 0, 0], second[2, 0, 0]) == pytest.approx((one_of_3, one_of_1)), aggregation


def test_entropy_is_the_expected_surprise_and_at_most_that_of_the_uniform():
    logits = 3 * random(shape=(4, 8))
    p = np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)
    np.testing.assert_allclose(
        loss_terms.entropy(logits), [-sum(q * np.log(q) for q in probs) for probs in p], rtol=1e-5
    )
    np.testing.assert_allclose(loss_terms.entropy(jnp.full((1, 8), 5.0)), np.log(8), rtol=1e-6)
    np.testing.assert_allclose(loss_terms.entropy(jnp.array([[1e4, 0.0, 0.0]])), 0, atol=1e-6)


def test_value_loss_is_half_the_larger_of_the_two_squares():
    value, old, target = (np.asarray(random(i)) for i in range(3))
    clipped = np.clip(value, old - 0.2, old + 0.2)
    expected = 0.5 * np.maximum((value - target) ** 2, (clipped - target) ** 2)
    np.testing.assert_allclose(
        loss_terms.value_loss(jnp.asarray(value), jnp.asarray(old), jnp.asarray(target), 0.2),
        expected,
        rtol=1e-5,
    )


def test_a_value_is_not_pushed_beyond_the_clip_but_pulled_back():
    def pull(value, target):
        return jax.grad(
            lambda v: loss_terms.value_loss(v, jnp.float32(0), jnp.float32(target), 0.2)
        )(jnp.float32(value))

    assert pull(0.5, 1.0) == 0  # already further than 0.2 towards the target
    assert pull(0.1, 1.0) == pytest.approx(0.1 - 1.0)
    assert pull(0.5, -1.0) == pytest.approx(0.5 + 1.0)
