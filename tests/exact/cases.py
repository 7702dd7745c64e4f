"""The cases of the tests of exact values: tasks, policies and how many states a turn may have."""

from dataclasses import replace
from functools import cache
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import pytest

from agentic_rl import tokens
from agentic_rl.config import config
from agentic_rl.envs.chain_pit import ChainPit
from agentic_rl.envs.graph_nav import GraphNav
from agentic_rl.envs.key_door import KeyDoor
from agentic_rl.envs.sort_digits import SortDigits
from agentic_rl.exact import dynamic_programming
from agentic_rl.rollout.actors import Random
from agentic_rl.rollout.rollout import rollout
from tests.toys import TINY, Walk, compiled, weights

MARKOV = replace(TINY, context="markov")
RETURNS = ChainPit(
    num_turns=3, num_values=2, mode="unseen_recover", recovery_turns=1, reward="per_step_cost"
)
SLIPS = GraphNav(num_nodes=4, num_turns=3, num_rooms=1, slip=0.3)
LONG = Walk(num_turns=2, size=5, action_length=3)  # three tokens an action
STROLL = Walk(num_turns=3, size=4, action_length=2)
CASES = {
    "chain_pit": (RETURNS, MARKOV, 4),
    "chain_pit, remembered": (replace(RETURNS, num_turns=2), TINY, 64),
    "pit, remembered": (ChainPit(num_turns=3, num_values=2), TINY, 1),
    "key_door": (KeyDoor(delay=0), MARKOV, 5),
    "graph_nav": (SLIPS, MARKOV, 32),
    "walk": (STROLL, MARKOV, 8),
    "long": (LONG, MARKOV, 8),
    "sort_digits": (SortDigits(num_digits=2, base=3), MARKOV, 1),
}
SLOW = ("chain_pit", "graph_nav", "pit, remembered", "key_door", "long", "sort_digits")
every_case = pytest.mark.parametrize(
    "case", [pytest.param(case, marks=[pytest.mark.slow] * (case in SLOW)) for case in CASES]
)


@config
class Babble(Random):
    """Draws one of the task's choices three times out of four, else any token."""

    def act(self, task, key, state):
        kind, choice, other = jax.random.split(key, 3)
        drawn = jax.random.choice(
            choice, jnp.array((*task.spec.choices, tokens.END)), (task.spec.action_length,)
        )
        every = jax.random.randint(other, drawn.shape, 0, tokens.VOCABULARY)
        return jnp.where(jax.random.uniform(kind, drawn.shape) < 0.75, drawn, every)


@cache
def played(task):
    """Returns four episodes at each of three problems, with their states."""
    with jax.enable_x64(False):
        return compiled(
            lambda: rollout(task, Babble(), jax.random.key(0), jnp.arange(3), 4, keep_states=True)
        )()


@cache
def wide(task, policy_config):
    """Returns weights in float64 that make some of the task's choices likely."""
    return jax.tree.map(
        lambda x: x.astype(jnp.float64),
        weights(policy_config, seed=1, likely=(*task.spec.choices[::2], tokens.END)),
    )


class Result(NamedTuple):
    """The solution of a case, with the values of its episodes and the expected returns."""

    solution: dynamic_programming.Solution
    value: Any
    expected: Any


def solve(case, params, trajectory, capacity=None, chunk=256):
    task, policy_config, usual = CASES[case]
    result = dynamic_programming.solve(
        task, policy_config, params, trajectory, capacity or usual, chunk
    )
    return Result(
        result,
        dynamic_programming.values(result, trajectory),
        dynamic_programming.expected_return(result.table),
    )


@cache
def solver(case, **settings):
    return compiled(lambda params, trajectory: solve(case, params, trajectory, **settings))


@cache
def solved(case, **settings):
    task, policy_config, _ = CASES[case]
    return jax.device_get(solver(case, **settings)(wide(task, policy_config), played(task)))
