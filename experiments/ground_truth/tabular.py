"""Test beds of a policy that is a table of logits, one for each state of each problem: where closed forms are known.

The policy is a function of the task's state, and the gradient is taken by the logits that say the same; tasks with actions of one token.
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

SIZE = Policy(context="markov")  # of which only the context counts
NEVER = 1e-30  # a probability that is not zero, so that it has a logarithm
Choice = Callable[[Environment, State], Float[Array, " V"]]  # how likely each token is


@dataclass(frozen=True)
class TabularPolicy:
    """Acts by a table."""

    choice: Choice

    def act(self, task: Environment, key: PRNGKeyArray, state: State) -> Int[Array, " A"]:
        return jax.random.categorical(key, jnp.log(self.choice(task, state)))[None]


def right_with(chance: float) -> Choice:
    """The expert's token with this probability, else one of the task's other choices."""

    def choice(task, state):
        mine, others = (
            jax.nn.one_hot(task.expert(state)[0], tokens.VOCABULARY),
            len(task.spec.choices) - 1,
        )
        every = (
            jnp.zeros(tokens.VOCABULARY).at[jnp.array(task.spec.choices)].set((1 - chance) / others)
        )
        return jnp.where(mine > 0, chance, every)

    return choice


def make(
    task: Environment, choice: Choice, shape: tuple[int, int, int], seed: int = 0
) -> testbed.Testbed:
    """A test bed of `shape` (replicates, problems, attempts); its gradients are by logits [N, T, C, V], flattened.

    Raises: ConfigError if an action of the task has more than one token.
    """
    check(
        task.spec.action_length == 1,
        f"A table is for actions of one token, those of {type(task).__name__} have more.",
    )
    replicates, problems, attempts = shape
    play = jax.jit(
        lambda key: rollout(
            task,
            TabularPolicy(choice),
            key,
            jnp.arange(problems),
            replicates * attempts,
            keep_states=True,
        )
    )
    together = play(jax.random.key(seed))
    solution = _solve(task, choice, together, testbed.count(task, SIZE, together))
    return testbed.assemble(
        task, SIZE, {}, together, solution, partial(_slopes, together, solution), _true_gradient(task, solution), replicates
    )  # fmt: skip


@partial(jax.jit, static_argnums=(0, 1, 3))
def _solve(task, choice, together, capacity) -> dynamic_programming.Solution:
    state = jax.tree.map(lambda x: x[:, 0, 0], together.state)
    graph = dynamic_programming.explore(task, SIZE, state, together.observation[:, 0, 0], capacity)
    chance = jax.vmap(jax.vmap(jax.vmap(partial(choice, task))))(graph.states.state)
    log_prob = jnp.log(jnp.maximum(chance, NEVER))[:, :, :, None]
    value = jax.vmap(partial(dynamic_programming.back_up, alphabet(task, SIZE)))(graph, log_prob)
    return dynamic_programming.Solution(
        graph,
        dynamic_programming.ValueTable(log_prob, value),
        locate(task, SIZE, graph, together),
    )


@partial(jax.jit, static_argnums=0)
def _true_gradient(task, solution: dynamic_programming.Solution) -> Float[Array, " W"]:
    def expected_return(logits):
        log_prob = jax.nn.log_softmax(logits)
        return jax.vmap(partial(dynamic_programming.back_up, alphabet(task, SIZE)))(
            solution.graph, log_prob
        )[:, 0, 0, -1].mean()

    return jax.grad(expected_return)(solution.table.log_prob).ravel()


def _slopes(
    together, solution: dynamic_programming.Solution, index: np.ndarray
) -> Float[np.ndarray, "pairs W"]:
    """∂ log π(token) / ∂ logits = one-hot − π, in the rows of its state."""
    n, b, t, a = np.unravel_index(index, together.mask.shape)
    state, token = (
        np.asarray(solution.places.state)[n, b, t],
        np.asarray(together.action)[n, b, t, a],
    )
    chance = np.exp(np.asarray(solution.table.log_prob))[:, :, :, 0]
    slopes, row = np.zeros((len(index), *chance.shape), np.float32), np.arange(len(index))
    slopes[row, n, t, state] = np.eye(chance.shape[-1])[token] - chance[n, t, state]
    return slopes.reshape(len(index), -1)
