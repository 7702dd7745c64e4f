"""Exact values, by enumeration of all that can happen."""

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
    """The exact expected return before and after each token; the difference is the true advantage.

    It costs no episode. It is for policies in markov context, on tasks with few states in a turn
    (agentic_rl/exact/dynamic_programming.py).
    """

    capacity: Count = 32  # states before a turn of one problem, at most
    chunk: Count = 256  # states that are read at a time: a bound on memory

    has_values: ClassVar[bool] = True
    keeps_states: ClassVar[bool] = True

    def __call__(self, context: ValueContext, trajectory: Trajectory) -> tuple[Value, Costs]:
        """Returns the values; they are NaN where a problem has too many states."""
        agent = context.policy_config, context.params
        solution = dynamic_programming.solve(
            context.task, *agent, trajectory, self.capacity, self.chunk
        )
        return dynamic_programming.values(solution, trajectory), {}

    def check(self, task: Environment, policy_config: Policy) -> None:
        """Checks that some problems' states are few enough to be enumerated.

        Raises: ConfigError with what to change.
        """
        dynamic_programming.check_possible(task, policy_config)
        most, name = self._count_states(task, policy_config), type(task).__name__
        merge = "set --policy.context markov, " if policy_config.context == "history" else ""
        check(
            most <= self.capacity,
            f"{name} comes to {most} states a turn or more, but --algorithm.values.capacity is"
            f" {self.capacity}: {merge}raise it, or use --values forks.",
        )

    def _count_states(self, task: Environment, policy_config: Policy) -> int:
        """Returns the largest number of states in a turn, over some training problems."""

        def count(state, observation):
            graph = dynamic_programming.explore(
                task, policy_config, state, observation, self.capacity
            )
            return graph.states.count.max()

        draw = jax.vmap(lambda key: problems.draw(task, "train", key))
        state, step = draw(jax.random.split(jax.random.key(0), PROBES))
        return int(jax.jit(count)(state, step.observation))
