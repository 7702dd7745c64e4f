"""The true values: everything that can happen is enumerated."""

from typing import ClassVar

import jax

from agentic_rl import problems
from agentic_rl.config import check, config
from agentic_rl.config.ranges import Count
from agentic_rl.exact import dynamic_programming
from agentic_rl.policy.transformer import Policy
from agentic_rl.types import Environment, Trajectory, Value
from agentic_rl.values import Costs, ValueContext, ValueSource

PROBES = 64  # problems whose states are counted before a run


@config
class Exact(ValueSource):
    """The exact expected return before and after each token: their difference is the true advantage. Costs no episode.

    For policies in markov context, on tasks with few states a turn. (agentic_rl/exact/dynamic_programming.py)
    """

    capacity: Count = 32  # states before a turn of one problem, at most
    chunk: Count = 256  # states that are read at a time: a bound on memory

    has_values: ClassVar[bool] = True
    keeps_states: ClassVar[bool] = True

    def __call__(self, context: ValueContext, trajectory: Trajectory) -> tuple[Value, Costs]:
        """The values; NaN where the states were too many."""
        found = dynamic_programming.solve(
            context.task,
            context.policy_config,
            context.params,
            trajectory,
            self.capacity,
            self.chunk,
        )
        return dynamic_programming.values(found, trajectory), {}

    def check(self, task: Environment, policy_config: Policy) -> None:
        """Counts the states of some problems."""
        dynamic_programming.check_possible(task, policy_config)
        draw = jax.vmap(lambda key: problems.draw(task, "train", key))
        state, step = draw(jax.random.split(jax.random.key(0), PROBES))
        explore = jax.jit(
            lambda s, o: dynamic_programming.explore(
                task, policy_config, s, o, self.capacity
            ).states.count.max()
        )
        most, name = int(explore(state, step.observation)), type(task).__name__
        sentence = f"{name} comes to {most} states a turn or more, but --algorithm.values.capacity is {self.capacity}"
        merge = "set --policy.context markov, " if policy_config.context == "history" else ""
        check(most <= self.capacity, f"{sentence}: {merge}raise it, or use --values forks.")
