"""A task so small that everything which can happen in it is written down: the exact gradient of an objective, the exact expected update.

Two problems, two turns, two tokens a turn. The policy is a transformer in float64 whose 64 tokens have two embeddings, that of the tokens
which end an action and that of all others: tokens of a kind are equally likely and lead to the same, so that one of each kind can stand
for all, and 7 episodes for all episodes of a problem. All batches are enumerated too; the expected credit goes through the learner's loss.
"""

import itertools
import math
from functools import cache, partial
from typing import Any, ClassVar, NamedTuple, get_args

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from agentic_rl import tokens, values
from agentic_rl.algorithms import REINFORCE, Algorithm, swap
from agentic_rl.config import config
from agentic_rl.config.ranges import Finite
from agentic_rl.credit.group import GroupRelative
from agentic_rl.credit.returns import reward_to_go, token_rewards, token_to_go
from agentic_rl.losses import loss_terms
from agentic_rl.policy import transformer
from agentic_rl.training import experience, learner
from agentic_rl.types import Spec, Trajectory, Value

SIZE = transformer.Policy(width=8, layers=1, heads=2, mlp=8)
SPEC = Spec(2, 1, 2, 2, ())
SETUP = learner.setup(SIZE, REINFORCE, 1, 0)
STOPS = (
    np.arange(tokens.VOCABULARY) % 5 == tokens.END
)  # the tokens that end an action are one kind, all others the other
ONE_OF_EACH = (tokens.END, tokens.OBS)
BETA, DISCOUNT = 0.5, 0.95  # of the objectives with a KL, of the discounted one
AGGREGATIONS = get_args(loss_terms.Aggregation)
quickly = partial(
    jax.jit, compiler_options={"xla_backend_optimization_level": 0}
)  # to compile: all programs run once or twice
make_batch, to_go, from_state_values = map(
    quickly, (experience.make_batch, token_to_go, values.from_state_values)
)


class Enumeration(NamedTuple):
    """A task and a policy, and all that can happen."""

    spec: Spec
    params: Any  # float64
    reference: Any
    trajectory: Trajectory  # all episodes of both problems, [N=2, G=episodes, ...]
    likewise: Float[np.ndarray, " G"]  # how many episodes each stands for
    probability: Float[np.ndarray, "N G"]  # of all these together, given the problem


# All that can happen


def actions(alphabet: tuple[int, ...], length: int) -> list[tuple]:
    """All actions: tokens up to one that stops, `length` of them at most."""
    return [
        (a, *rest)
        for a in alphabet
        for rest in ([()] if STOPS[a] or length == 1 else actions(alphabet, length - 1))
    ]


def episodes(alphabet: tuple[int, ...], length: int, turns: int) -> list[tuple]:
    """All sequences of up to `turns` actions; one without a stop is the last."""
    every = actions(alphabet, length)
    return [
        (a, *rest)
        for a in every
        for rest in (episodes(alphabet, length, turns - 1) if STOPS[a[-1]] and turns > 1 else [()])
    ]


def all_token_sequences(alphabet: tuple[int, ...], spec: Spec) -> Int[np.ndarray, "G T A"]:
    """The tokens of all episodes, -1 where there is none."""
    every = episodes(alphabet, spec.action_length, spec.num_turns)
    token = np.full((len(every), spec.num_turns, spec.action_length), -1)
    for i, turns in enumerate(every):
        for t, action in enumerate(turns):
            token[i, t, : len(action)] = action
    return token


def play(token: Int[np.ndarray, "G T A"], rewards: str) -> Trajectory:
    """The episodes with these tokens, at both problems; no policy has read them yet.

    A token that does not stop is a step between two places. Problem 0 asks for one step in each turn, problem 1 for an odd number in all.
    Rewards are 1 at the end for that ("outcome"), or arbitrary in every turn ("turns"); the potential is arbitrary.
    """
    mask, turn, random = token >= 0, np.arange(token.shape[1]), np.random.default_rng(4)
    alive, steps = mask.any(-1), (mask & ~STOPS[token]).sum(-1)
    place = (np.cumsum(steps, axis=-1) - steps) % 2
    wins = np.stack([((steps == 1) | ~alive).all(-1), steps.sum(-1) % 2 == 1])
    outcome = wins[..., None] & (turn == alive.sum(-1, keepdims=True) - 1)
    potential = random.integers(-2, 3, (2, len(turn), 2))[:, turn, place] / 2
    by_turn = (
        random.integers(-2, 3, (2, len(turn), 2, token.shape[2] + 1))[:, turn, place, steps] / 2
    )
    reward = np.where(alive, by_turn if rewards == "turns" else outcome, 0.0)
    prompt = np.broadcast_to(
        [[[tokens.BOS, tokens.value(n)]] for n in range(2)], (2, len(token), 2)
    )
    action, observation = np.where(mask, token, tokens.PAD), tokens.value(place)[..., None]
    shared = dict(
        action=action,
        label=action,
        mask=mask,
        label_mask=mask,
        observation=observation,
        anchor=place,
        is_key=alive,
    )
    shared |= dict.fromkeys(
        ("log_prob", "collision", "reference_log_prob", "penalty"), np.zeros(mask.shape)
    )
    made = {name: np.stack([x, x]) for name, x in shared.items()} | dict(
        prompt=prompt, reward=reward, success=wins, room=1 - wins, potential=potential
    )
    return Trajectory(**{name: jnp.asarray(x) for name, x in made.items()})


def weights(seed: int) -> Any:
    """Random weights, with two embeddings."""
    random, shapes = (
        np.random.default_rng(seed),
        jax.eval_shape(lambda: transformer.init(SIZE, jax.random.key(0))),
    )
    params = jax.tree.map(
        lambda x: jnp.asarray(0.5 * random.normal(size=x.shape), jnp.float64), shapes
    )
    return params | {"embedding": {"embedding": params["embedding"]["embedding"][:2]}}


def tie_embeddings(params: Any) -> Any:
    """The weights of the transformer in which all tokens of a kind have one embedding."""
    return params | {
        "embedding": {"embedding": params["embedding"]["embedding"][STOPS.astype(int)]}
    }


@partial(jax.jit, static_argnames="spec")
def predict(
    spec: Spec, params: Any, trajectory: Trajectory
) -> tuple[Float[Array, "N G T A"], Float[Array, "N G T A V"]]:
    """Log-probability of each token written (0 elsewhere), and of every token there."""
    zeros = jnp.zeros(trajectory.mask.shape)
    batch = experience.make_batch(REINFORCE, trajectory, Value(zeros, zeros, jnp.float32(1)))
    log_prob, logits, _ = learner.predict(SETUP, spec, REINFORCE, tie_embeddings(params), batch)
    return jnp.where(trajectory.mask, log_prob.reshape(zeros.shape), 0.0), jax.nn.log_softmax(
        logits
    ).reshape(*zeros.shape, -1)


@cache
def world(rewards: str, spec: Spec = SPEC, alphabet: tuple[int, ...] = ONE_OF_EACH) -> Enumeration:
    """The task with these rewards; by default one token of each kind is written for all of them."""
    token, params, reference, shown = (
        all_token_sequences(alphabet, spec),
        weights(14),
        weights(6),
        STOPS[list(alphabet)],
    )
    alike = np.where(STOPS, STOPS.sum() / shown.sum(), (~STOPS).sum() / (~shown).sum())
    likewise = np.where(token >= 0, alike[token], 1.0).prod((-2, -1))
    trajectory = play(token, rewards)
    log_prob, every = predict(spec, params, trajectory)
    collision = jnp.where(trajectory.mask, jnp.exp(2 * every).sum(-1), 0.0)
    trajectory = trajectory._replace(
        log_prob=log_prob,
        collision=collision,
        reference_log_prob=predict(spec, reference, trajectory)[0],
    )
    return Enumeration(
        spec, params, reference, trajectory, likewise, likewise * np.exp(log_prob.sum((-2, -1)))
    )


# What the update ought to be


def group_weight(attempts: int, p: float, eps: float = 0.0, ddof: int = 0) -> float:
    """c(p) = E[s² / (std + eps)] / (p (1 − p)), s² the population's variance of G returns of 0 or 1: what GRPO multiplies ∇p with.

    With eps and ddof 0 it is E[std] / (p (1 − p)). (after Dr. GRPO, 2503.20783)
    """
    wins = np.arange(1, attempts)  # the others have no credit
    variance = wins / attempts * (1 - wins / attempts)
    chance = (
        np.array([math.comb(attempts, k) for k in wins]) * p**wins * (1 - p) ** (attempts - wins)
    )
    return float(
        (chance * variance / (np.sqrt(variance * attempts / (attempts - ddof)) + eps)).sum()
        / (p * (1 - p))
    )


def kl_of_episode(
    trajectory: Trajectory, one: Float[Array, "N G T A V"], other: Float[Array, "N G T A V"]
) -> Float[Array, "N G"]:
    """Σ over the states of each episode of KL(one ‖ other), both given as log-probabilities."""
    return jnp.where(trajectory.mask, (jnp.exp(one) * (one - other)).sum(-1), 0.0).sum((-2, -1))


def objectives(here: Enumeration, params: Any) -> dict[str, Float[Array, ""]]:
    """What might be maximised, means over the two problems."""
    made, seen = here.trajectory, here.probability
    log_prob, every = predict(here.spec, params, made)
    other = predict(here.spec, here.reference, made)[1]
    chance, gain = here.likewise * jnp.exp(log_prob.sum((-2, -1))), token_rewards(made).sum(-1)
    expected, solved = (chance * gain.sum(-1)).sum(-1), (chance * made.success).sum(-1)
    log_ratio = (log_prob - made.reference_log_prob).sum((-2, -1))
    forward, backward = (kl_of_episode(made, *pair) for pair in ((every, other), (other, every)))
    found = {
        "J": expected,
        "P(success)": solved,
        "J, discounted": (chance * reward_to_go(gain, DISCOUNT)[..., 0]).sum(-1),
        "2 arcsin √p": 2 * jnp.arcsin(jnp.sqrt(solved)),
        "J − β KL": expected - BETA * (chance * log_ratio).sum(-1),
        "J − β KL, visits fixed": expected - BETA * (seen * forward).sum(-1),
        "J − β KL(ref‖π), visits fixed": expected - BETA * (seen * backward).sum(-1),
    }
    grpo, before = GroupRelative(), (seen * np.asarray(made.success)).sum(-1)
    for g in (2, 3, 4, 8, 16):
        found[f"Σ c(p) ∇p, G = {g}"] = solved * np.array(
            [group_weight(g, p, grpo.eps, grpo.ddof) for p in before]
        )
    return {name: x.mean() for name, x in found.items()}


@cache
def gradients(rewards: str) -> dict[str, Float[np.ndarray, " W"]]:
    """The gradient of every objective, as a vector."""
    here = world(rewards)
    return {
        name: vector(x)
        for name, x in quickly(jax.jacrev(partial(objectives, here)))(here.params).items()
    }


def vector(tree: Any) -> Float[np.ndarray, " W"]:
    """All weights in a row."""
    return np.concatenate([np.ravel(x) for x in jax.tree.leaves(tree)])


# What the update is expected to be


def same_past(trajectory: Trajectory) -> Bool[np.ndarray, "L G G"]:
    """Whether two episodes are the same before a token."""
    token = np.asarray(trajectory.action[0]).reshape(trajectory.action.shape[1], -1)
    return np.stack(
        [(token[:, None, :i] == token[None, :, :i]).all(-1) for i in range(token.shape[1])]
    )


@config
class EnumeratedValues(values.ValueSource):
    """The expected return before each token, or one that is wrong by a random number in each state."""

    mistake: Finite = 0.0  # standard deviation of the random number

    known: ClassVar[bool] = True

    def __call__(self, here: Enumeration, trajectory: Trajectory) -> tuple[Value, dict]:
        """The mean over all episodes with the same past."""
        same, shape, chance = same_past(trajectory), trajectory.mask.shape, here.probability
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
    """All batches, as the numbers of their episodes, and how likely each is; one stands for all orders of the attempts."""
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
    """For each aggregation the sums over all batches of every token's weight in the loss, and of weight times credit."""
    problem = jnp.arange(index.shape[1])[:, None]

    def one(index, chance):
        made, valued = jax.tree.map(
            lambda x: x[problem, index] if jnp.ndim(x) else x, (trajectory, value)
        )
        batch = experience.make_batch(algorithm, made, valued)
        each = {how: chance * loss_terms.token_weight([batch.mask], how)[0] for how in AGGREGATIONS}
        return {
            how: tuple(x.reshape(made.mask.shape) for x in (weight, weight * batch.credit))
            for how, weight in each.items()
        }

    zeros = jnp.zeros(trajectory.mask.shape)
    return jax.tree.map(lambda x: zeros.at[problem, index].add(x), jax.vmap(one)(index, chance))


def expected_update(
    here: Enumeration, algorithm: Algorithm, trajectory: Trajectory, value: Value
) -> tuple[Float[Array, "N E T A"], ...]:
    """The `expectation` with this row's aggregation; of more than 4 attempts, each problem is a batch of its own."""
    row = swap(
        REINFORCE, credit=algorithm.credit, values=algorithm.values, attempts=algorithm.attempts
    )
    each = []
    for n in [slice(0, 2)] if algorithm.attempts <= 4 else [slice(0, 1), slice(1, 2)]:
        some = jax.tree.map(lambda x: x[n] if jnp.ndim(x) else x, (trajectory, value))
        each.append(
            expectation(row, *some, *batches(here.probability[n], algorithm.attempts))[
                algorithm.aggregation
            ]
        )
    return tuple(jnp.concatenate(x) for x in zip(*each))


@partial(quickly, static_argnames="spec")
def slope(
    spec: Spec,
    algorithm: Algorithm,
    params: Any,
    batch: experience.Batch,
    weight: Float[Array, "B T A"],
) -> Any:
    """The gradient of the learner's loss."""
    return jax.grad(
        lambda p: learner.loss(SETUP, spec, algorithm, tie_embeddings(p), batch, weight, weight)[0]
    )(params)


def update(here: Enumeration, algorithm: Algorithm) -> Float[np.ndarray, " W"]:
    """The expected update, as a vector, in units in which the tokens' weights sum to an episode's mean length."""
    credited = algorithm.reward(here.trajectory)
    value = algorithm.values(here, credited)[0]
    batch = make_batch(algorithm, credited, value)
    length = (here.probability * np.asarray(credited.mask.sum((2, 3)))).sum(-1).mean()
    weight, product = (
        x.reshape(batch.mask.shape) for x in expected_update(here, algorithm, credited, value)
    )
    batch = batch._replace(
        credit=jnp.where(batch.mask, product / jnp.where(batch.mask, weight, 1.0), 0.0)
    )
    return -vector(
        slope(
            here.spec,
            swap(REINFORCE, kl=algorithm.kl),
            here.params,
            batch,
            weight * length / weight.sum(),
        )
    )
