"""Surrogates against their formulas in plain numpy: where gradients are cut, and reductions."""

from dataclasses import replace
from functools import cache

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from agentic_rl import config
from agentic_rl.losses import surrogates
from agentic_rl.losses.surrogates import (
    LARGEST,
    Cispo,
    ClippedRatio,
    DualClip,
    GspoToken,
    LogLikelihood,
    PolicyRatio,
    SequenceRatio,
)
from tests.batches import close, settings
from tests.toys import compiled

B, T, A = 6, 3, 2
EVERY = [surrogate for cls in config.named(surrogates).values() for surrogate in settings(cls)]
WIDE = dict(clip_low=0.2, clip_high=0.3)
RATIO = np.array([0.5, 0.79, 0.9, 1.0, 1.25, 1.31, 2.0], np.float32)
every_sequence_ratio = pytest.mark.parametrize(
    "surrogate",
    [replace(s, **WIDE) for cls in (SequenceRatio, GspoToken) for s in settings(cls)],
    ids=repr,
)


def batch(seed=0):
    """Returns log-probabilities, older ones, credit and a mask; one sequence is all padding."""
    random = np.random.default_rng(seed)
    old = -np.abs(random.normal(size=(B, T, A)))
    tokens = random.integers(0, A + 1, (B, T, 1)) * (np.arange(B) > 0)[:, None, None]
    drift = random.normal(size=old.shape) / 4 + random.normal(size=(B, 1, 1)) / 2
    arrays = old + drift, old, random.normal(size=old.shape)
    return *(x.astype(np.float32) for x in arrays), np.arange(A) < tokens


@cache
def program():
    """Returns a function to objective, d Σ objective / d log π (unmasked) and diagnostics."""

    def run(surrogate, log_prob, old, credit, mask):
        def total(log_prob):
            objective = surrogate(log_prob, old, credit, mask)
            return jnp.where(mask, objective, 0.0).sum(), objective

        slope, objective = jax.grad(total, has_aux=True)(log_prob)
        return objective, slope, surrogate.diagnostics(log_prob, old, credit, mask)

    return compiled(run)


def objective(surrogate, arrays):
    """Returns the objective of each token, 0 where masked."""
    return np.where(arrays[3], program()(surrogate, *arrays)[0], 0.0)


def slope(surrogate, arrays):
    """Returns the gradient by each token's log-probability."""
    return np.asarray(program()(surrogate, *arrays)[1])


def clip_fractions(surrogate, arrays):
    """Returns where the clip is active, below and above."""
    result = program()(surrogate, *arrays)[2]
    return tuple(np.asarray(result[f"clip_fraction_{side}"]) for side in ("low", "high"))


def at_ratios(credit, ratio=RATIO):
    """Returns one token at each ratio, all with the same credit."""
    log_prob = np.log(ratio).reshape(-1, 1, 1)
    return (
        log_prob,
        np.zeros_like(log_prob),
        np.full_like(log_prob, credit),
        np.ones(log_prob.shape, bool),
    )


def assert_per_token(surrogate, of_token, arrays=None):
    """Asserts that each unmasked token's objective is `of_token(ratio, credit, log_prob)`."""
    log_prob, old, credit, mask = arrays or batch()
    result = objective(surrogate, (log_prob, old, credit, mask))
    for i in zip(*np.nonzero(mask)):
        close(
            result[i],
            of_token(np.exp(log_prob[i] - old[i]), credit[i], log_prob[i]),
            err_msg=f"{surrogate} at {i}",
        )


# Definitions


def test_log_likelihood_is_credit_times_log_prob_whoever_acted():
    log_prob, old, credit, mask = batch()
    for other in (old, old - 1.0):
        assert_per_token(
            LogLikelihood(), lambda rho, c, log_p: c * log_p, (log_prob, other, credit, mask)
        )


def test_policy_ratio_is_the_ratio_times_credit():
    assert_per_token(PolicyRatio(), lambda rho, c, log_p: rho * c)


def clipped(rho, c, low=0.2, high=0.3):
    return min(rho * c, min(max(rho, 1 - low), 1 + high) * c)


def test_clipped_ratio_is_the_smaller_of_the_two_products():
    assert_per_token(ClippedRatio(**WIDE), lambda rho, c, log_p: clipped(rho, c))
    for credit in (-2.0, 2.0):
        assert_per_token(
            ClippedRatio(**WIDE), lambda rho, c, log_p: clipped(rho, c), at_ratios(credit)
        )


def test_dual_clip_is_the_clipped_ratio_with_a_lower_bound():
    def of_token(rho, c, log_p):
        return max(clipped(rho, c), 1.5 * c) if c < 0 else clipped(rho, c)

    assert_per_token(DualClip(**WIDE, bound=1.5), of_token)
    for credit in (-2.0, 2.0):
        assert_per_token(DualClip(**WIDE, bound=1.5), of_token, at_ratios(credit))


def test_cispo_is_log_prob_times_credit_times_the_clipped_ratio():
    for low in (0.2, 1.0):
        surrogate = Cispo(clip_low=low, clip_high=0.3)
        assert_per_token(
            surrogate, lambda rho, c, log_p, low=low: min(max(rho, 1 - low), 1.3) * c * log_p
        )


def shared_ratio(surrogate, arrays):
    """Returns the ratio of each token's turn or sequence, a product or geometric mean."""
    log_prob, old, _, mask = arrays
    ratio = np.ones(mask.shape)
    for b, t, a in zip(*np.nonzero(mask)):
        group = [(t, k) for k in range(A)] if surrogate.level == "turn" else list(np.ndindex(T, A))
        each = [np.exp(log_prob[b][p] - old[b][p]) for p in group if mask[b][p]]
        ratio[b, t, a] = np.prod(each) ** (1 / len(each) if surrogate.mean else 1)
    return ratio


@every_sequence_ratio
def test_sequence_ratio_clips_the_shared_ratio_of_a_turn_or_sequence(surrogate):
    arrays = batch()
    expected = [
        clipped(rho, c) for rho, c in zip(shared_ratio(surrogate, arrays).flat, arrays[2].flat)
    ]
    close(
        objective(surrogate, arrays),
        np.where(arrays[3], np.reshape(expected, arrays[3].shape), 0.0),
    )


# Gradients


@pytest.mark.parametrize("credit", [2.0, -2.0])
def test_the_clip_stops_reinforcement_above_and_suppression_below(credit):
    result = slope(ClippedRatio(**WIDE), at_ratios(credit))[:, 0, 0]
    cut = RATIO > 1.3 if credit > 0 else RATIO < 0.8
    close(result, np.where(cut, 0.0, RATIO * credit))
    assert cut.any() and not cut.all()


def test_dual_clip_stops_suppressing_actions_that_became_far_likelier():
    for credit, cut in ((2.0, RATIO > 1.3), (-2.0, (RATIO < 0.8) | (RATIO > 1.3))):
        result = slope(DualClip(**WIDE, bound=1.3), at_ratios(credit))[:, 0, 0]
        close(result, np.where(cut, 0.0, RATIO * credit))


@pytest.mark.parametrize("credit", [2.0, -2.0])
def test_cispo_keeps_every_token_s_gradient_weighed_by_the_clipped_ratio(credit):
    result = slope(Cispo(**WIDE), at_ratios(credit))[:, 0, 0]
    close(result, np.clip(RATIO, 0.8, 1.3) * credit)
    assert (result != 0).all()


def test_policy_ratio_s_gradient_is_never_cut():
    arrays = batch()
    close(
        slope(PolicyRatio(), arrays),
        np.where(arrays[3], np.exp(arrays[0] - arrays[1]) * arrays[2], 0.0),
    )


@every_sequence_ratio
def test_a_sequence_s_gradient_sums_its_unclipped_tokens(surrogate):
    """A token's gradient is its own part in GSPO-token, and else the sum of all tokens' parts."""
    arrays = batch()
    rho, (_, _, credit, mask) = shared_ratio(surrogate, arrays), arrays
    cut = (rho > 1.3) & (credit > 0) | (rho < 0.8) & (credit < 0)
    part = np.where(mask & ~cut, rho * credit, 0.0)
    axes = 2 if surrogate.level == "turn" else (1, 2)
    length = np.maximum(mask.sum(axes, keepdims=True), 1) if surrogate.mean else 1
    everyone = np.where(mask, part.sum(axes, keepdims=True) / length, 0.0)
    close(slope(surrogate, arrays), part if isinstance(surrogate, GspoToken) else everyone)
    assert (mask & cut).any() and (mask & ~cut).any()


@pytest.mark.parametrize("level", ["turn", "sequence"])
def test_gspo_token_has_gspo_s_value_and_for_shared_credit_its_gradient(level):
    log_prob, old, credit, mask = batch()
    gspo = SequenceRatio(**WIDE, level=level)
    by_token = GspoToken(**vars(gspo))
    close(objective(by_token, batch()), objective(gspo, batch()))
    apart = slope(by_token, batch()) - slope(gspo, batch())
    shared = log_prob, old, np.broadcast_to(credit[:, :1, :1], mask.shape), mask
    close(slope(by_token, shared), slope(gspo, shared))
    assert np.abs(apart).max() > 0.1


def test_the_ratio_of_a_long_episode_does_not_overflow():
    log_prob, old = np.full((1, T, A), -0.1, np.float32), np.full((1, T, A), -60.0, np.float32)
    arrays = log_prob, old, np.full_like(old, -1.0), np.ones(old.shape, bool)
    assert T * A * 59.9 > np.log(np.finfo(np.float32).max)
    surrogate = SequenceRatio(mean=False)
    close(objective(surrogate, arrays), -np.exp(LARGEST))
    assert np.isfinite(slope(surrogate, arrays)).all()


@pytest.mark.parametrize("surrogate", [s for s in EVERY if s != LogLikelihood()], ids=repr)
def test_at_the_policy_that_acted_every_gradient_is_the_policy_gradient(surrogate):
    """The credit is shared by a sequence, because a ratio of a turn or sequence mixes credits.

    Without `mean` such a ratio adds them up.
    """
    _, old, credit, mask = batch()
    arrays = old, old, np.broadcast_to(credit[:, :1, :1], mask.shape), mask
    expected = slope(LogLikelihood(), arrays)
    if isinstance(surrogate, SequenceRatio) and not (
        surrogate.mean or isinstance(surrogate, GspoToken)
    ):
        expected = expected * mask.sum(2 if surrogate.level == "turn" else (1, 2), keepdims=True)
    close(slope(surrogate, arrays), expected, rtol=1e-5)
    assert np.abs(expected).max() > 0.1


# Reductions


@every_sequence_ratio
def test_for_sequences_of_one_token_sequence_ratio_is_clipped_ratio(surrogate):
    log_prob, old, credit, _ = batch()
    arrays = log_prob, old, credit, np.broadcast_to(np.arange(T * A).reshape(T, A) == 0, (B, T, A))
    token = ClippedRatio(**WIDE)
    close(objective(surrogate, arrays), objective(token, arrays))
    close(slope(surrogate, arrays), slope(token, arrays))


@pytest.mark.parametrize("mean", [False, True])
def test_for_episodes_of_one_turn_the_ratio_of_turns_is_that_of_sequences(mean):
    log_prob, old, credit, mask = batch()
    arrays = log_prob, old, credit, mask & (np.arange(T) == 0)[:, None]
    turn, sequence = (
        SequenceRatio(**WIDE, level=level, mean=mean) for level in ("turn", "sequence")
    )
    close(slope(turn, arrays), slope(sequence, arrays))


def test_without_bounds_the_clipped_ratio_is_the_policy_ratio():
    wide = ClippedRatio(clip_low=1e9, clip_high=1e9)
    close(objective(wide, batch()), objective(PolicyRatio(), batch()))
    close(slope(wide, batch()), slope(PolicyRatio(), batch()))


def test_dual_clip_with_a_huge_bound_is_the_clipped_ratio():
    for arrays in (batch(), at_ratios(-2.0), at_ratios(2.0)):
        close(
            objective(DualClip(**WIDE, bound=1e9), arrays), objective(ClippedRatio(**WIDE), arrays)
        )
        close(slope(DualClip(**WIDE, bound=1e9), arrays), slope(ClippedRatio(**WIDE), arrays))


def test_cispo_within_its_bounds_has_the_policy_ratio_s_gradient():
    wide = Cispo(clip_low=1.0, clip_high=1e9)
    close(slope(wide, batch()), slope(PolicyRatio(), batch()))


# Diagnostics


def test_the_clip_s_diagnostics_count_the_tokens_without_gradient():
    for credit in (-1.0, 1.0):
        low, high = clip_fractions(ClippedRatio(**WIDE), at_ratios(credit))
        active, other = (low, high) if credit < 0 else (high, low)
        np.testing.assert_array_equal(
            active == 1, slope(ClippedRatio(**WIDE), at_ratios(credit)) == 0
        )
        assert not other.any()


@every_sequence_ratio
def test_a_sequence_s_clip_counts_each_of_its_tokens_by_the_shared_ratio(surrogate):
    arrays = batch()
    rho, credit, mask = shared_ratio(surrogate, arrays), arrays[2], arrays[3]
    low, high = clip_fractions(surrogate, arrays)
    np.testing.assert_array_equal(low[mask] == 1, ((rho < 0.8) & (credit < 0))[mask])
    np.testing.assert_array_equal(high[mask] == 1, ((rho > 1.3) & (credit > 0))[mask])


def test_cispo_s_diagnostics_count_the_clipped_weights_whatever_the_credit():
    for credit in (-1.0, 1.0):
        low, high = clip_fractions(Cispo(**WIDE), at_ratios(credit))
        np.testing.assert_array_equal(low[:, 0, 0] == 1, RATIO < 0.8)
        np.testing.assert_array_equal(high[:, 0, 0] == 1, RATIO > 1.3)


# Blindness


@given(st.integers(0, 10_000), st.sampled_from(EVERY))
def test_the_content_of_masked_tokens_changes_nothing(seed, surrogate):
    arrays, garbage = batch(seed), batch(seed + 1)
    dirty = *(np.where(arrays[3], x, 3 * y) for x, y in zip(arrays[:3], garbage)), arrays[3]
    np.testing.assert_array_equal(objective(surrogate, dirty), objective(surrogate, arrays))
    np.testing.assert_array_equal(slope(surrogate, dirty), slope(surrogate, arrays))
    assert not slope(surrogate, arrays)[~arrays[3]].any()


@given(st.integers(0, 10_000), st.sampled_from(EVERY))
def test_a_sequence_s_objective_does_not_depend_on_the_other_sequences(seed, surrogate):
    arrays, others = batch(seed), batch(seed + 1)
    mixed = tuple(np.concatenate([x[:3], y[3:]]) for x, y in zip(arrays, others))
    np.testing.assert_array_equal(objective(surrogate, mixed)[:3], objective(surrogate, arrays)[:3])
    np.testing.assert_array_equal(slope(surrogate, mixed)[:3], slope(surrogate, arrays)[:3])


def test_uses_ratio_says_whether_old_log_probabilities_are_read():
    log_prob, old, credit, mask = batch()
    for surrogate in EVERY:
        moved = objective(surrogate, (log_prob, old - 0.5, credit, mask)) - objective(
            surrogate, (log_prob, old, credit, mask)
        )
        assert surrogate.uses_ratio == (np.abs(moved).max() > 0), surrogate
