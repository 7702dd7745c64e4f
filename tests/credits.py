"""Helpers of the credit tests: random values, credits per token, and sums that they share."""

from functools import cache

import numpy as np

from agentic_rl.credit.returns import token_rewards
from agentic_rl.types import Value
from agentic_rl.values import from_state_values
from tests.batches import G, close, episodes, gains, trajectory
from tests.toys import compiled

RAW = dict(whiten=False)


def random_values(batch, discount=1.0, seed=1):
    """Returns random values before each token, and the values after it by their definition."""
    before = np.where(
        batch.mask, np.random.default_rng(seed).normal(size=batch.mask.shape), 0.0
    ).astype(np.float32)
    after = np.zeros_like(before)
    for i, places in episodes(batch):
        nexts = [before[i][p] for p in places[1:]] + [0.0]
        for p, gain, later in zip(places, gains(batch, i, places), nexts):
            after[i][p] = gain + discount * later
    return Value(before, after, np.float32(discount))


@cache
def compiled_credits():
    return compiled(lambda credits, batch, value: [credit(batch, value) for credit in credits])


@cache
def compiled_values():
    return compiled(
        lambda before, batch, discount: from_state_values(
            before, token_rewards(batch), batch.mask, discount
        )
    )


def by_token(result, batch):
    """Returns credit per token [N, G, T, A], 0 where masked."""
    return np.where(batch.mask, np.asarray(result)[..., None] if result.ndim == 3 else result, 0.0)


def compute_credit(credit, batch, value=None):
    """Returns the credit of each token, 0 where masked, as numpy [N, G, T, A]."""
    return by_token(compiled_credits()([credit], batch, value or random_values(batch))[0], batch)


def assert_credit(credit, batch, expected, value=None):
    """Asserts that each unmasked token's credit is the one that `expected` returns.

    `expected(index, places, gains)` returns the credits of one episode."""
    result = compute_credit(credit, batch, value)
    for i, places in episodes(batch):
        close(
            [result[i][p] for p in places],
            expected(i, places, gains(batch, i, places)),
            err_msg=f"{credit} at {i}",
        )


def assert_equal_credits(one, other, batch=None, value=None, **options):
    """Asserts that two credits are equal."""
    batch = trajectory() if batch is None else batch
    close(compute_credit(one, batch, value), compute_credit(other, batch, value), **options)


def to_go(places, gain, discount=1.0):
    """Returns each token's reward to go, discounted once per turn in between."""
    return [
        sum(discount ** (t - turn) * g for (t, _), g in zip(places[k:], gain[k:]))
        for k, (turn, _) in enumerate(places)
    ]


def other_attempts(i, attempts=G):
    """Returns the indices of the other attempts at the same problem."""
    return [(i[0], j) for j in range(attempts) if j != i[1]]


def td_sum(gain, value, discount, lambda_):
    """Returns Σⱼ (γλ)ʲ δₖ₊ⱼ for each step k of a chain, δₖ = gainₖ + γ valueₖ₊₁ − valueₖ.

    The value after the last step is 0.
    """
    delta = [
        g + discount * after - before for g, before, after in zip(gain, value, [*value[1:], 0.0])
    ]
    return [
        sum((discount * lambda_) ** j * d for j, d in enumerate(delta[k:]))
        for k in range(len(delta))
    ]
