"""What the tests of credits share: values by their definition, a credit's number for each token, and sums that several are made of."""

from functools import cache

import numpy as np

from agentic_rl.credit.returns import token_rewards
from agentic_rl.types import Value
from agentic_rl.values import from_state_values
from tests.batches import G, close, episodes, gains, trajectory
from tests.toys import compiled

RAW = dict(whiten=False)


def value_of(made, discount=1.0, seed=1):
    """Random values before each token; those after it by their definition."""
    before = np.where(
        made.mask, np.random.default_rng(seed).normal(size=made.mask.shape), 0.0
    ).astype(np.float32)
    after = np.zeros_like(before)
    for i, places in episodes(made):
        nexts = [before[i][p] for p in places[1:]] + [0.0]
        for p, gain, later in zip(places, gains(made, i, places), nexts):
            after[i][p] = gain + discount * later
    return Value(before, after, np.float32(discount))


@cache
def compiled_credits():
    return compiled(lambda credits, made, value: [credit(made, value) for credit in credits])


@cache
def compiled_values():
    return compiled(
        lambda before, made, discount: from_state_values(
            before, token_rewards(made), made.mask, discount
        )
    )


def by_token(found, made):
    """Credit per token, 0 where masked."""
    return np.where(made.mask, np.asarray(found)[..., None] if found.ndim == 3 else found, 0.0)


def credited(credit, made, value=None):
    """A credit's number for each token, 0 where masked, as numpy [N, G, T, A]."""
    return by_token(compiled_credits()([credit], made, value or value_of(made))[0], made)


def agrees(credit, made, of_episode, value=None):
    """Asserts that the credit of each written token is what `of_episode(index, places, gains)` lists."""
    found = credited(credit, made, value)
    for i, places in episodes(made):
        close(
            [found[i][p] for p in places],
            of_episode(i, places, gains(made, i, places)),
            err_msg=f"{credit} at {i}",
        )


def same(one, other, made=None, value=None, **options):
    """Asserts that two credits are equal."""
    made = trajectory() if made is None else made
    close(credited(one, made, value), credited(other, made, value), **options)


def to_go(places, gain, discount=1.0):
    """What each token and those after it earned, discounted once per turn in between."""
    return [
        sum(discount ** (t - here) * g for (t, _), g in zip(places[k:], gain[k:]))
        for k, (here, _) in enumerate(places)
    ]


def others(i, attempts=G):
    """The other attempts at the same problem."""
    return [(i[0], j) for j in range(attempts) if j != i[1]]


def td_sum(gain, value, discount, lambda_):
    """Σⱼ (γλ)ʲ δₖ₊ⱼ for each step k of a chain, δ the error of `value` to `gain` and the discounted next value (0 behind the last)."""
    delta = [
        g + discount * after - before for g, before, after in zip(gain, value, [*value[1:], 0.0])
    ]
    return [
        sum((discount * lambda_) ** j * d for j, d in enumerate(delta[k:]))
        for k in range(len(delta))
    ]
