"""Losses, gradients, penalties and advantages of presets against ports of published formulas.

Each port is written in float64 from what the paper or framework states, not from our code. It is
compared near the policy that acted, and far from it, where clamps decide: with log-ratios of up to
±5 and beyond ±20, and with gaps to the reference of up to ±12.
"""

from functools import cache

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from agentic_rl.losses import loss_terms
from agentic_rl.losses.kl import LARGEST, ReferenceKL
from agentic_rl.presets import PRESETS
from agentic_rl.types import Value
from tests.batches import blank, close
from tests.toys import compiled

B, T, A = 8, 3, 4
REACH = {"near": 0.3, "far": 5.0, "beyond": 28.0}  # of log-ratios


# Ports. `x`: log-probabilities, by which is differentiated; `held`: the same, as constants.


def clipped(low, high, bound=np.inf, clamp=np.inf):
    """Returns PPO's loss; `bound` is the dual clip's, and log-ratios are clamped to ±`clamp`."""

    def loss(x, held, old, credit, mask):
        ratio = np.exp(np.clip(x - old, -clamp, clamp))
        plain = np.maximum(-credit * ratio, -credit * np.clip(ratio, 1 - low, 1 + high))
        return np.where(credit < 0, np.minimum(plain, -credit * bound), plain)

    return loss


def likelihood(x, held, old, credit, mask):
    return -credit * x


def total(log_ratio, mask):
    return np.where(mask, log_ratio, 0.0).sum((1, 2), keepdims=True)


def gspo(x, held, old, credit, mask):
    """TRL's loss, in which the ratio of a sequence is the geometric mean of its tokens'."""
    ratio = np.exp(total(x - old, mask) / mask.sum((1, 2), keepdims=True))
    return -np.minimum(ratio * credit, np.clip(ratio, 1 - 3e-4, 1 + 4e-4) * credit)


def gspo_token(x, held, old, credit, mask):
    """verl's loss, which has that value with the slope of each token, clamped from above at 10."""
    ratio = np.exp(
        np.minimum(x - held + total(held - old, mask) / mask.sum((1, 2), keepdims=True), 10.0)
    )
    return np.maximum(-credit * ratio, -credit * np.clip(ratio, 1 - 3e-4, 1 + 4e-4))


def rloo(x, held, old, credit, mask):
    """TRL's loss, in which the ratio of a sequence is the product of its tokens'.

    Here the product is held below what overflows in float32.
    """
    ratio = np.exp(np.minimum(total(x - old, mask), LARGEST))
    return -np.minimum(ratio * credit, np.clip(ratio, 0.8, 1.2) * credit)


def cispo(least, most):
    """Returns the loss with the clipped ratio as a constant weight."""

    def loss(x, held, old, credit, mask):
        return -np.clip(np.exp(held - old), least, most) * credit * x

    return loss


def k1(d):
    return -d


def k2_of_openrlhf(d):
    return np.clip(d**2 / 2, -10, 10)


def k3(d):
    return np.exp(d) - d - 1


def k3_of_verl(d):
    d = np.clip(d, -20, 20)
    return np.clip(np.exp(d) - d - 1, -10, 10)


PPO, VERL, HIGHER = clipped(0.2, 0.2), clipped(0.2, 0.2, bound=3.0, clamp=20.0), clipped(0.2, 0.28)
NONE = (0.0, k1)
TOKENS, EPISODES, CONSTANT = "tokens", "episodes", "constant"
PORTS = {  # policy loss, coefficient and estimator of the KL in the loss, what the mean is over
    "grpo-deepseek": (PPO, (0.04, k3), EPISODES),
    "grpo-trl": (PPO, NONE, TOKENS),
    "grpo-verl": (VERL, (0.001, k3_of_verl), TOKENS),
    "grpo-tunix": (clipped(0.2, 0.2, clamp=20.0), (0.04, k1), EPISODES),
    "grpo-zero": (likelihood, NONE, TOKENS),
    "dr-grpo-trl": (PPO, NONE, CONSTANT),
    "dr-grpo-verl": (VERL, NONE, CONSTANT),
    "dapo-paper": (HIGHER, NONE, TOKENS),
    "gspo-trl": (gspo, NONE, EPISODES),
    "gspo-verl": (gspo_token, NONE, EPISODES),
    "cispo-trl": (cispo(0.0, 5.0), NONE, TOKENS),
    "cispo-verl": (cispo(0.8, 1.2), NONE, TOKENS),
    "reinforce++-baseline": (PPO, (1e-5, k2_of_openrlhf), TOKENS),
    "rloo-trl": (rloo, NONE, EPISODES),
    "rloo-verl": (VERL, NONE, TOKENS),
    "opo": (VERL, NONE, TOKENS),
    "otb": (VERL, NONE, TOKENS),
    "gigpo-paper": (PPO, (0.01, k3), TOKENS),
    "gigpo-code": (VERL, (0.01, k3_of_verl), TOKENS),
    "reinforce++": (PPO, NONE, TOKENS),
    "remax": (likelihood, NONE, CONSTANT),
    "pav": (likelihood, NONE, TOKENS),
    "ppo-2017": (PPO, NONE, TOKENS),
    "ppo-verl": (VERL, NONE, TOKENS),
    "vc-ppo": (PPO, NONE, TOKENS),
    "vapo": (HIGHER, NONE, TOKENS),
    "ragen-bi-level": (clipped(0.2, 0.28, bound=3.0, clamp=20.0), NONE, TOKENS),
    "vineppo-paper": (PPO, (1e-4, k3_of_verl), TOKENS),
}


def weights(mask, over):
    lengths = mask.sum((1, 2), keepdims=True)
    return mask / {TOKENS: mask.sum(), EPISODES: len(mask) * lengths, CONSTANT: mask.size}[over]


def port(name, log_prob, old, reference, credit, mask):
    """Returns the loss, how large its terms are, and its gradient by finite differences."""
    policy, (coefficient, estimate), over = PORTS[name]
    held, old, reference, credit = (x.astype(float) for x in (log_prob, old, reference, credit))
    weight = weights(mask, over)

    def terms(x):  # apart, so that small differences of one are not lost in the other
        return weight * np.stack(
            [policy(x, held, old, credit, mask), coefficient * estimate(reference - x)]
        )

    slope, h = np.zeros(held.shape), 1e-6
    for place in np.argwhere(mask):
        nudge = np.zeros(held.shape)
        nudge[tuple(place)] = h
        slope[tuple(place)] = (terms(held + nudge) - terms(held - nudge)).sum() / (2 * h)
    at_held = terms(held)
    return at_held.sum(), np.abs(at_held).sum(), slope


def batch(reach, seed):
    """Returns log-probabilities now, when acting and of the reference, credit, and a mask."""
    random = np.random.default_rng(seed)
    log_prob, mask = (
        -30 * random.random((B, T, A)),
        np.arange(A) < random.integers(1, A + 1, (B, T, 1)),
    )
    gap = random.uniform(-12, 12, log_prob.shape)
    credit = np.broadcast_to(random.normal(size=(B, 1, 1)), log_prob.shape)
    arrays = (
        log_prob,
        log_prob - random.uniform(-reach, reach, log_prob.shape),
        log_prob + gap,
        credit,
    )
    return *(x.astype(np.float32) for x in arrays), mask


@cache
def program():
    def ours(algorithm, log_prob, old, reference, credit, mask):
        def loss(log_prob):
            per_token = -algorithm.surrogate(log_prob, old, credit, mask)
            if isinstance(algorithm.kl, ReferenceKL):
                per_token += algorithm.kl(log_prob, reference)
            return jnp.where(
                mask, loss_terms.token_weight([mask], algorithm.aggregation)[0] * per_token, 0.0
            ).sum()

        return jax.value_and_grad(loss)(log_prob)

    return compiled(ours)


def test_every_preset_has_a_port():
    assert PORTS.keys() == PRESETS.keys()


@pytest.mark.parametrize("name", PORTS)
def test_the_loss_and_gradient_of_a_preset_are_those_of_its_port(name):
    for reach, seed in (("near", 0), ("far", 1), ("beyond", 29)):
        arrays = batch(REACH[reach], seed)
        loss, slope = program()(PRESETS[name], *arrays)
        expected, size, expected_slope = port(name, *arrays)
        close(loss, expected, rtol=0, atol=2e-5 * size, err_msg=reach)
        close(slope, np.where(arrays[-1], expected_slope, 0.0), rtol=2e-4, atol=1e-8, err_msg=reach)


def test_the_far_batch_is_beyond_every_clamp():
    log_prob, old, reference, credit, mask = batch(REACH["beyond"], 29)
    away, gap, summed = (
        (log_prob - old)[mask],
        (reference - log_prob)[mask],
        total(log_prob - old, mask),
    )
    assert away.max() > 20 and away.min() < -20 and gap.max() > 11 and gap.min() < -11
    pushed_down = credit[:, :1, :1] < 0  # there alone a large ratio counts
    assert ((10 < summed) & (summed < LARGEST) & pushed_down).any() and (
        summed / mask.sum((1, 2), keepdims=True) > 10
    )[pushed_down].any()


def test_verl_s_low_variance_estimator_is_flat_at_10():
    """At log π_ref − log π = 3 verl has value 10 and slope 0; plain k3 has 16.09 and -19.09."""
    kl = PRESETS["grpo-verl"].kl
    value, slope = jax.value_and_grad(lambda x: kl(x, jnp.float32(-1.0)) / kl.coefficient)(
        jnp.float32(-4.0)
    )
    assert (value, slope) == (pytest.approx(10.0), 0.0)
    plain = ReferenceKL(1.0, "k3")
    close(
        jax.value_and_grad(lambda x: plain(x, jnp.float32(-1.0)))(jnp.float32(-4.0)),
        (np.e**3 - 4, 1 - np.e**3),
    )


@pytest.mark.parametrize("away", [-200.0, 200.0])
def test_no_gradient_is_nan_where_a_ratio_would_overflow(away):
    log_prob, mask = jnp.full((1, 1, 1), -1.0), jnp.ones((1, 1, 1), bool)
    for name, algorithm in PRESETS.items():
        for credit in (-1.0, 0.0, 1.0):
            slope = program()(
                algorithm,
                log_prob,
                log_prob - away,
                log_prob + away,
                jnp.full((1, 1, 1), credit),
                mask,
            )[1]
            assert np.isfinite(slope).all(), (name, credit)


@pytest.mark.parametrize(
    "name, coefficient, clamp", [("reinforce++", 0.01, 10.0), ("rloo-trl", 0.05, np.inf)]
)
def test_the_kl_in_the_reward_is_k1_clamped_as_in_openrlhf(name, coefficient, clamp):
    log_prob, gap = (
        np.full((1, 1, 1, 4), -13.0, np.float32),
        np.array([-12.0, -3.0, 0.5, 12.0], np.float32),
    )
    arrays = jax.tree.map(
        jnp.asarray, blank(1, 1, 1, 4, log_prob=log_prob, reference_log_prob=log_prob + gap)
    )
    close(PRESETS[name].reward(arrays).penalty.ravel(), coefficient * np.clip(-gap, -clamp, clamp))


def whitened(x, mask):
    return np.where(mask, (x - x[mask].mean()) / np.sqrt(x[mask].var() + 1e-8), 0.0)


ADVANTAGES = {  # of returns [N, G] and lengths [N, G]
    "grpo-trl": lambda r, n: (
        (r - r.mean(1, keepdims=True)) / (r.std(1, ddof=1, keepdims=True) + 1e-4)
    ),
    "grpo-verl": lambda r, n: (
        (r - r.mean(1, keepdims=True)) / (r.std(1, ddof=1, keepdims=True) + 1e-6)
    ),
    "grpo-tunix": lambda r, n: (
        (r - r.mean(1, keepdims=True)) / (r.std(1, ddof=1, keepdims=True) + 1e-6)
    ),
    "grpo-zero": lambda r, n: (r - r.mean(1, keepdims=True)) / (r.std(1, keepdims=True) + 1e-4),
    "dr-grpo-verl": lambda r, n: r - r.mean(1, keepdims=True),
    "rloo-verl": lambda r, n: r - (r.sum(1, keepdims=True) - r) / (r.shape[1] - 1),
    "opo": lambda r, n: r - (n * r).sum(1, keepdims=True) / n.sum(1, keepdims=True),
}


def rewarded(scale):
    """Returns episodes of one turn of 1 to 4 tokens; their returns spread by `scale` in a group.

    In the last group all returns are equal.
    """
    random, mask = (
        np.random.default_rng(0),
        np.arange(4) < np.random.default_rng(1).integers(1, 5, (3, 4, 1, 1)),
    )
    reward = (scale * random.normal(size=(3, 4, 1))).astype(np.float32)
    reward[2] = 1.0
    return blank(3, 4, 1, 4, reward=reward, mask=mask)


@pytest.mark.parametrize("scale", [1.0, 1e-4])
@pytest.mark.parametrize("name", [*ADVANTAGES, "reinforce++-baseline"])
def test_advantages_of_presets_that_compare_attempts_are_those_of_ports(name, scale):
    arrays = rewarded(scale)
    nothing = jnp.zeros(arrays.mask.shape)
    result = np.asarray(
        PRESETS[name].credit(
            jax.tree.map(jnp.asarray, arrays), Value(nothing, nothing, jnp.float32(1))
        )
    )
    returns, lengths = arrays.reward.sum(-1, dtype=float), arrays.mask.sum((2, 3))
    expected = (
        ADVANTAGES.get(name, ADVANTAGES["dr-grpo-verl"])(returns, lengths)[..., None, None]
        * arrays.mask
    )
    expected = whitened(expected, arrays.mask) if name not in ADVANTAGES else expected
    result = np.where(arrays.mask, result[..., None] if result.ndim == 3 else result, 0.0)
    close(result, expected, rtol=5e-3, atol=1e-4 * scale)
