"""Testbeds of a policy that is a table of logits, for which closed forms are known.

The table has logits for each state of each problem. The policy acts by a function of the task's
state, and gradients are taken with respect to the logits that say the same. Tasks must have
actions of one token.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, PRNGKeyArray

from agentic_rl import tokens
from agentic_rl.config import check
from agentic_rl.exact import dynamic_programming
from agentic_rl.exact.actions import alphabet
from agentic_rl.exact.places import locate
from agentic_rl.policy.transformer import Policy
from agentic_rl.rollout.rollout import rollout
from agentic_rl.types import Environment, State
from experiments.ground_truth import testbed

POLICY = Policy(context="markov")  # only its context matters here
NEVER = 1e-30  # stands for a probability of 0, so that it has a logarithm
Choice = Callable[[Environment, State], Float[Array, " V"]]  # the probability of each token


@dataclass(frozen=True)
class TabularPolicy:
    """An actor that samples from the probabilities of a table."""

    choice: Choice

    def act(self, task: Environment, key: PRNGKeyArray, state: State) -> Int[Array, " A"]:
        return jax.random.categorical(key, jnp.log(self.choice(task, state)))[None]


def right_with(chance: float) -> Choice:
    """Returns a table that gives the expert's token this probability, the others equal ones."""

    def choice(task, state):
        is_right = jax.nn.one_hot(task.expert(state)[0], tokens.VOCABULARY) > 0
        choices = jnp.array(task.spec.choices)
        other = (1 - chance) / (len(task.spec.choices) - 1)
        return jnp.where(is_right, chance, jnp.zeros(tokens.VOCABULARY).at[choices].set(other))

    return choice


def make(
    task: Environment, choice: Choice, shape: tuple[int, int, int], seed: int = 0
) -> testbed.Testbed:
    """Returns a testbed of `shape` (replicates, problems, attempts).

    Its gradients are with respect to the logits [N, T, C, V], flattened.

    Raises: ConfigError if an action of the task has more than one token.
    """
    check(
        task.spec.action_length == 1,
        f"A table is for actions of one token, those of {type(task).__name__} have more.",
    )
    replicates, problems, attempts = shape
    actor, problem = TabularPolicy(choice), jnp.arange(problems)

    @jax.jit
    def play(key):
        return rollout(task, actor, key, problem, replicates * attempts, keep_states=True)

    pooled = play(jax.random.key(seed))
    solution = _solve(task, choice, pooled, testbed.count_states(task, POLICY, pooled))
    slopes_of, true = partial(_slopes, pooled, solution), _true_gradient(task, solution)
    return testbed.assemble(task, POLICY, {}, pooled, solution, slopes_of, true, replicates)


@partial(jax.jit, static_argnums=(0, 1, 3))
def _solve(task, choice, pooled, capacity) -> dynamic_programming.Solution:
    state = jax.tree.map(lambda x: x[:, 0, 0], pooled.state)
    graph = dynamic_programming.explore(task, POLICY, state, pooled.observation[:, 0, 0], capacity)
    chance = jax.vmap(jax.vmap(jax.vmap(partial(choice, task))))(graph.states.state)
    log_prob = jnp.log(jnp.maximum(chance, NEVER))[:, :, :, None]
    back_up = partial(dynamic_programming.back_up, alphabet(task, POLICY))
    table = dynamic_programming.ValueTable(log_prob, jax.vmap(back_up)(graph, log_prob))
    return dynamic_programming.Solution(graph, table, locate(task, POLICY, graph, pooled))


@partial(jax.jit, static_argnums=0)
def _true_gradient(task, solution: dynamic_programming.Solution) -> Float[Array, " W"]:
    def expected_return(logits):
        log_prob = jax.nn.log_softmax(logits)
        back_up = partial(dynamic_programming.back_up, alphabet(task, POLICY))
        value = jax.vmap(back_up)(solution.graph, log_prob)
        return value[:, 0, 0, -1].mean()

    return jax.grad(expected_return)(solution.table.log_prob).ravel()


def _slopes(
    pooled, solution: dynamic_programming.Solution, index: np.ndarray
) -> Float[np.ndarray, "pairs W"]:
    """Returns ∂ log π(token) / ∂ logits, which is one-hot − π at the logits of its state."""
    n, b, t, a = np.unravel_index(index, pooled.mask.shape)
    state = np.asarray(solution.places.state)[n, b, t]
    token = np.asarray(pooled.action)[n, b, t, a]
    chance = np.exp(np.asarray(solution.table.log_prob))[:, :, :, 0]
    slopes, pair = np.zeros((len(index), *chance.shape), np.float32), np.arange(len(index))
    slopes[pair, n, t, state] = np.eye(chance.shape[-1])[token] - chance[n, t, state]
    return slopes.reshape(len(index), -1)
