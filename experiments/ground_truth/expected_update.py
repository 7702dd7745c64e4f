"""The expected update of an algorithm, over all batches of the enumerated task."""

import itertools
import math
from functools import partial
from typing import Any, ClassVar, get_args

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from agentic_rl import values
from agentic_rl.algorithms import REINFORCE, Algorithm, swap
from agentic_rl.config import config
from agentic_rl.config.ranges import Finite
from agentic_rl.credit.returns import token_rewards, token_to_go
from agentic_rl.losses import loss_terms
from agentic_rl.training import batch as training_batch
from agentic_rl.training import gradients as loss_gradients
from agentic_rl.types import Spec, Trajectory, Value
from experiments.ground_truth.enumeration import SETUP, Enumeration, quickly, tie_embeddings
from experiments.ground_truth.objectives import flatten

AGGREGATIONS = get_args(loss_terms.Aggregation)
make_batch, to_go, from_state_values = map(
    quickly, (training_batch.make_batch, token_to_go, values.from_state_values)
)


def same_past(trajectory: Trajectory) -> Bool[np.ndarray, "L G G"]:
    """Returns for each token whether two episodes are the same before it."""
    token = np.asarray(trajectory.action[0]).reshape(trajectory.action.shape[1], -1)
    return np.stack(
        [(token[:, None, :i] == token[None, :, :i]).all(-1) for i in range(token.shape[1])]
    )


@config
class EnumeratedValues(values.ValueSource):
    """The expected return before each token, off by a random number in each state if asked."""

    mistake: Finite = 0.0  # standard deviation of the random number

    has_values: ClassVar[bool] = True

    def __call__(self, enumerated: Enumeration, trajectory: Trajectory) -> tuple[Value, dict]:
        """Returns the mean over all episodes with the same past, and no costs."""
        same, shape, chance = same_past(trajectory), trajectory.mask.shape, enumerated.probability
        later = np.asarray(to_go(trajectory)).reshape(*shape[:2], -1)
        mean = np.einsum("lgh,nh,nhl->ngl", same, chance, later) / np.einsum(
            "lgh,nh->ngl", same, chance
        )
        random = np.random.default_rng(2).normal(size=(shape[0], *same.shape[:2]))
        wrong = np.take_along_axis(
            random, np.broadcast_to(same.argmax(-1), random.shape), axis=-1
        ).swapaxes(1, 2)
        before = jnp.asarray(mean + self.mistake * wrong).reshape(shape)
        return from_state_values(before, token_rewards(trajectory), trajectory.mask, 1.0), {}


def batches(
    probability: Float[np.ndarray, "N E"], attempts: int
) -> tuple[Int[np.ndarray, "K N G"], Float[np.ndarray, " K"]]:
    """Returns all batches, as the indices of their episodes, and the probability of each.

    One batch stands for all orders of its attempts.
    """
    group = np.array(
        list(itertools.combinations_with_replacement(range(probability.shape[1]), attempts))
    )
    alike = np.array([math.prod(math.factorial(n) for n in np.bincount(g)) for g in group])
    chance = math.factorial(attempts) / alike * probability[:, group].prod(-1)
    picked = np.indices((len(group),) * len(probability)).reshape(len(probability), -1)
    return group[picked.T], np.prod([c[i] for c, i in zip(chance, picked)], axis=0)


@quickly
def expectation(
    algorithm: Algorithm,
    trajectory: Trajectory,
    value: Value,
    index: Int[Array, "K N G"],
    chance: Float[Array, " K"],
) -> dict[str, tuple[Float[Array, "N E T A"], Float[Array, "N E T A"]]]:
    """Returns each token's expected weight in the loss, and expected weight times credit.

    Both are sums over all batches by their probability, for each aggregation.
    """
    problem = jnp.arange(index.shape[1])[:, None]

    def of_batch(index, chance):
        def pick(x):
            return x[problem, index] if jnp.ndim(x) else x

        picked, picked_value = jax.tree.map(pick, (trajectory, value))
        batch = training_batch.make_batch(algorithm, picked, picked_value)
        sums = {}
        for how in AGGREGATIONS:
            weight = chance * loss_terms.token_weight([batch.mask], how)[0]
            pair = (weight, weight * batch.credit)
            sums[how] = tuple(x.reshape(picked.mask.shape) for x in pair)
        return sums

    zeros = jnp.zeros(trajectory.mask.shape)
    each = jax.vmap(of_batch)(index, chance)
    return jax.tree.map(lambda x: zeros.at[problem, index].add(x), each)


def expected_weights(
    enumerated: Enumeration, algorithm: Algorithm, trajectory: Trajectory, value: Value
) -> tuple[Float[Array, "N E T A"], ...]:
    """Returns each token's expected weight, and weight times credit, with this aggregation.

    With more than 4 attempts, each problem is a batch of its own.
    """
    credit, attempts = algorithm.credit, algorithm.attempts
    plain = swap(REINFORCE, credit=credit, values=algorithm.values, attempts=attempts)
    each = []
    for n in [slice(0, 2)] if attempts <= 4 else [slice(0, 1), slice(1, 2)]:
        part = jax.tree.map(lambda x: x[n] if jnp.ndim(x) else x, (trajectory, value))
        index, chance = batches(enumerated.probability[n], attempts)
        each.append(expectation(plain, *part, index, chance)[algorithm.aggregation])
    return tuple(jnp.concatenate(x) for x in zip(*each))


@partial(quickly, static_argnames="spec")
def slope(
    spec: Spec,
    algorithm: Algorithm,
    params: Any,
    batch: training_batch.Batch,
    weight: Float[Array, "B T A"],
) -> Any:
    """Returns the gradient of the learner's loss."""

    def loss(params):
        tied = tie_embeddings(params)
        return loss_gradients.loss(SETUP, spec, algorithm, tied, batch, weight, weight)[0]

    return jax.grad(loss)(params)


def update(enumerated: Enumeration, algorithm: Algorithm) -> Float[np.ndarray, " W"]:
    """Returns the expected update as a vector.

    Its unit: the tokens' weights sum to the mean length of an episode.
    """
    credited = algorithm.reward(enumerated.trajectory)
    value = algorithm.values(enumerated, credited)[0]
    batch = make_batch(algorithm, credited, value)
    length = (enumerated.probability * np.asarray(credited.mask.sum((2, 3)))).sum(-1).mean()
    weight, product = (
        x.reshape(batch.mask.shape)
        for x in expected_weights(enumerated, algorithm, credited, value)
    )
    credit = jnp.where(batch.mask, product / jnp.where(batch.mask, weight, 1.0), 0.0)
    plain = swap(REINFORCE, kl=algorithm.kl)
    weight = weight * length / weight.sum()
    batch = batch._replace(credit=credit)
    return -flatten(slope(enumerated.spec, plain, enumerated.params, batch, weight))
