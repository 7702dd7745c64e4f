"""Random batches of episodes without a task or a network, and every setting of a config.

Plain numpy walks through the episodes.
"""

import itertools
from dataclasses import fields
from typing import get_args

import jax
import numpy as np

from agentic_rl.config.ranges import kind
from agentic_rl.types import Trajectory

N, G, T, A = 3, 4, 3, 3


def trajectory(seed=0, attempts=G):
    """Returns episodes of random lengths.

    Every turn that was played has at least one token, and every third has no reward.
    """
    random, shape = np.random.default_rng(seed), (N, attempts)
    turns, tokens = random.integers(1, T + 1, shape), random.integers(1, A + 1, (*shape, T))
    alive = np.arange(T) < turns[..., None]
    mask = (np.arange(A) < tokens[..., None]) & alive[..., None]
    token, noise = random.integers(0, 64, (2, *shape, T, A)), random.normal(size=(3, *shape, T, A))
    prob = random.uniform(0.1, 0.9, mask.shape)
    label_mask = mask ^ (random.random(mask.shape) < 0.1)
    reward = np.where(alive & (random.random(alive.shape) < 2 / 3), noise[0, ..., 0], 0.0)
    batch = Trajectory(
        prompt=token[0, :, :, 0, :2],
        observation=token[0, ..., :2],
        action=token[0] * mask,
        mask=mask,
        log_prob=np.log(prob),
        collision=prob**2 + (1 - prob) ** 2 / 2,
        reference_log_prob=np.log(prob) + noise[1] / 4,
        label=np.where(random.random(mask.shape) < 0.8, token[0] * mask, token[1]),
        label_mask=label_mask,
        reward=reward,
        penalty=np.where(mask, noise[2] / 4, 0.0),
        success=random.random(shape) < 0.5,
        room=np.where(mask.all((2, 3)), -1, (~mask).sum((2, 3))),
        anchor=random.integers(0, 4, alive.shape),
        potential=np.where(alive, noise[1, ..., 0], 0.0),
        is_key=alive,
    )
    return jax.tree.map(lambda x: x.astype(np.float32) if x.dtype.kind == "f" else x, batch)


def blank(*shape, **fields):
    """Returns episodes [N, G, T, A] that write every token and earn nothing.

    `fields` replaces what differs.
    """
    token, zero, written = np.zeros(shape, int), np.zeros(shape, np.float32), np.ones(shape, bool)
    return Trajectory(
        prompt=token[:, :, 0],
        observation=token,
        action=token,
        mask=written,
        log_prob=zero,
        collision=zero,
        reference_log_prob=zero,
        label=token,
        label_mask=written,
        reward=zero[..., 0],
        penalty=zero,
        success=written[:, :, 0, 0],
        room=token[:, :, 0, 0],
        anchor=token[..., 0],
        potential=zero[..., 0],
        is_key=written[..., 0],
    )._replace(**fields)


def free(batch):
    """Returns the episodes, in which no token costs anything."""
    return batch._replace(penalty=np.zeros_like(batch.penalty))


def full(batch):
    """Returns the episodes, in which every token of the layout was written."""
    return batch._replace(mask=np.ones_like(batch.mask))


def terminal(batch):
    """Returns the episodes, in which the only reward is 1 for success, at the end."""
    return free(batch)._replace(reward=at_end(batch, batch.success.astype(np.float32)))


def at_end(batch, x):
    """Returns `x` [N, G] of each episode in its last turn, and 0 in the others."""
    turns = batch.mask.any(-1).sum(-1, keepdims=True)
    return np.where(np.arange(batch.mask.shape[2]) == turns - 1, x[..., None], 0).astype(x.dtype)


def episodes(batch):
    """Yields each attempt's index, and the (turn, token) places that were written, in order."""
    for i in np.ndindex(batch.mask.shape[:2]):
        yield i, [(int(t), int(a)) for t, a in np.argwhere(batch.mask[i])]


def gains(batch, i, places):
    """Returns what each written token earned.

    A turn's last token earns its reward, and each token pays its own penalty.
    """
    last = {t: a for t, a in places}
    return [
        (float(batch.reward[i][t]) if last[t] == a else 0.0) - float(batch.penalty[i][t, a])
        for t, a in places
    ]


def returns(batch):
    """Returns what each episode earned, [N, G]."""
    total = np.zeros(batch.mask.shape[:2])
    for i, places in episodes(batch):
        total[i] = sum(gains(batch, i, places))
    return total


def noise_like(x, seed):
    """Returns random values of the same shape and kind."""
    random = np.random.default_rng(seed)
    drawn = {"f": random.normal(size=x.shape), "b": random.random(x.shape) < 0.5}.get(
        x.dtype.kind, random.integers(0, 64, x.shape)
    )
    return drawn.astype(x.dtype)


def poisoned(tree, mask, seed):
    """Returns a trajectory (or values) with random values in its padding.

    That is, at masked tokens and in turns that were not played.
    """

    def poison(name, x):
        if name == "mask" or np.shape(x)[:3] != mask.shape[:3]:
            return x
        real = (
            mask
            if x.shape == mask.shape
            else mask.any(-1).reshape(mask.shape[:3] + (1,) * (x.ndim - 3))
        )
        return np.where(real, x, noise_like(x, seed))

    return tree._replace(**{name: poison(name, x) for name, x in tree._asdict().items()})


def padded(tree, mask, axis, seed):
    """Returns a trajectory (or values) with more padding, which holds random values.

    It is another turn (axis 2), or another token in each turn (axis 3).
    """

    def append(name, x):
        if np.shape(x)[: axis + 1] != mask.shape[: axis + 1]:
            return x
        more = noise_like(np.take(x, [0], axis), seed)
        return np.concatenate([x, np.zeros_like(more) if name == "mask" else more], axis)

    return tree._replace(**{name: append(name, x) for name, x in tree._asdict().items()})


def settings(cls):
    """Returns the class with its flags and choices set in every way, its numbers as they are."""
    options = {
        f.name: (False, True) if f.type is bool else get_args(kind(f.type)) for f in fields(cls)
    }
    options = {name: choices for name, choices in options.items() if choices}
    return [cls(**dict(zip(options, chosen))) for chosen in itertools.product(*options.values())]


def close(actual, expected, **options):
    np.testing.assert_allclose(actual, expected, **(dict(rtol=1e-4, atol=1e-5) | options))
