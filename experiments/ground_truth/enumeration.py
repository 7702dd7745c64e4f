"""A task so small that all its episodes are listed, with the exact probability of each.

The task has two problems, two turns and two tokens a turn. The policy is a transformer in
float64 whose tokens have only two embeddings: one for tokens that end an action, one for all
others. Tokens of one kind are equally likely and lead to the same, so one of each kind stands
for all, and 7 episodes stand for all episodes of a problem. `objectives` and `expected_update`
compute from them the exact gradient of an objective, and what a credit does in expectation.
"""

from functools import cache, partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from agentic_rl import tokens
from agentic_rl.algorithms import REINFORCE
from agentic_rl.policy import transformer
from agentic_rl.training import gradients, learner
from agentic_rl.training.batch import make_batch
from agentic_rl.types import Spec, Trajectory, Value

POLICY = transformer.Policy(width=8, layers=1, heads=2, mlp=8)
SPEC = Spec(2, 1, 2, 2, ())
SETUP = learner.setup(POLICY, REINFORCE, 1, 0)
STOPS = np.arange(tokens.VOCABULARY) % 5 == tokens.END  # whether a token ends an action
ONE_OF_EACH = (tokens.END, tokens.OBS)  # a token of each kind
# All programs run once or twice, so they are compiled quickly.
quickly = partial(jax.jit, compiler_options={"xla_backend_optimization_level": 0})


class Enumeration(NamedTuple):
    """A task and a policy, with all episodes that can happen."""

    spec: Spec
    params: Any  # float64
    reference: Any  # the weights of the policy that KL is measured from
    trajectory: Trajectory  # all episodes of both problems, [N=2, G=episodes, ...]
    multiplicity: Float[np.ndarray, " G"]  # how many episodes each stands for
    probability: Float[np.ndarray, "N G"]  # of all these together, given the problem


def actions(alphabet: tuple[int, ...], length: int) -> list[tuple]:
    """Returns all actions: tokens up to one that ends the action, at most `length` of them."""
    sequences = []
    for token in alphabet:
        ends = STOPS[token] or length == 1
        sequences += [(token, *rest) for rest in ([()] if ends else actions(alphabet, length - 1))]
    return sequences


def episodes(alphabet: tuple[int, ...], length: int, turns: int) -> list[tuple]:
    """Returns all sequences of up to `turns` actions; an action without an end is the last."""
    sequences = []
    for action in actions(alphabet, length):
        goes_on = STOPS[action[-1]] and turns > 1
        following = episodes(alphabet, length, turns - 1) if goes_on else [()]
        sequences += [(action, *rest) for rest in following]
    return sequences


def all_token_sequences(alphabet: tuple[int, ...], spec: Spec) -> Int[np.ndarray, "G T A"]:
    """Returns the tokens of all episodes, -1 where there is none."""
    every = episodes(alphabet, spec.action_length, spec.num_turns)
    token = np.full((len(every), spec.num_turns, spec.action_length), -1)
    for i, turns in enumerate(every):
        for t, action in enumerate(turns):
            token[i, t, : len(action)] = action
    return token


def play(token: Int[np.ndarray, "G T A"], rewards: str) -> Trajectory:
    """Returns the episodes with these tokens, at both problems, without log-probabilities.

    A token that does not end the action is a step between two places. Problem 0 asks for one step
    in each turn, problem 1 for an odd number of steps in all. With rewards "outcome" success pays
    1 at the end; with "turns" rewards are arbitrary in every turn. The potential is arbitrary.
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
    both = {name: np.stack([x, x]) for name, x in shared.items()}
    own = dict(prompt=prompt, reward=reward, success=wins, room=1 - wins, potential=potential)
    return Trajectory(**{name: jnp.asarray(x) for name, x in (both | own).items()})


def weights(seed: int) -> Any:
    """Returns random weights with two embeddings."""
    random = np.random.default_rng(seed)
    shapes = jax.eval_shape(lambda: transformer.init(POLICY, jax.random.key(0)))
    params = jax.tree.map(
        lambda x: jnp.asarray(0.5 * random.normal(size=x.shape), jnp.float64), shapes
    )
    return params | {"embedding": {"embedding": params["embedding"]["embedding"][:2]}}


def tie_embeddings(params: Any) -> Any:
    """Returns the transformer's weights, in which all tokens of a kind have one embedding."""
    return params | {
        "embedding": {"embedding": params["embedding"]["embedding"][STOPS.astype(int)]}
    }


@partial(jax.jit, static_argnames="spec")
def predict(
    spec: Spec, params: Any, trajectory: Trajectory
) -> tuple[Float[Array, "N G T A"], Float[Array, "N G T A V"]]:
    """Returns the log-probability of each written token (0 elsewhere), and of every token."""
    zeros = jnp.zeros(trajectory.mask.shape)
    batch = make_batch(REINFORCE, trajectory, Value(zeros, zeros, jnp.float32(1)))
    log_prob, logits, _ = gradients.predict(SETUP, spec, REINFORCE, tie_embeddings(params), batch)
    written = jnp.where(trajectory.mask, log_prob.reshape(zeros.shape), 0.0)
    return written, jax.nn.log_softmax(logits).reshape(*zeros.shape, -1)


@cache
def enumerate_task(
    rewards: str, spec: Spec = SPEC, alphabet: tuple[int, ...] = ONE_OF_EACH
) -> Enumeration:
    """Returns all episodes of the task with these rewards, written with tokens of `alphabet`.

    The tokens of the alphabet stand for all tokens of their kind.
    """
    token, params, reference = all_token_sequences(alphabet, spec), weights(14), weights(6)
    shown = STOPS[list(alphabet)]
    alike = np.where(STOPS, STOPS.sum() / shown.sum(), (~STOPS).sum() / (~shown).sum())
    multiplicity = np.where(token >= 0, alike[token], 1.0).prod((-2, -1))
    trajectory = play(token, rewards)
    log_prob, every = predict(spec, params, trajectory)
    collision = jnp.where(trajectory.mask, jnp.exp(2 * every).sum(-1), 0.0)
    trajectory = trajectory._replace(
        log_prob=log_prob,
        collision=collision,
        reference_log_prob=predict(spec, reference, trajectory)[0],
    )
    probability = multiplicity * np.exp(log_prob.sum((-2, -1)))
    return Enumeration(spec, params, reference, trajectory, multiplicity, probability)
