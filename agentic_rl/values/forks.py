"""Values from playing on: VinePPO's forks of every state, and ReMax's greedy episode."""

from typing import ClassVar

import jax
import jax.numpy as jnp

from agentic_rl.config import config
from agentic_rl.config.ranges import Count
from agentic_rl.credit.returns import token_rewards
from agentic_rl.policy.sampler import Sampler, fold
from agentic_rl.rollout.forks import cache_episodes, fork
from agentic_rl.types import Trajectory, Value
from agentic_rl.values import Costs, ValueContext, ValueSource, from_state_values


@config
class Forks(ValueSource):
    """The mean return of `count` episodes played on from each state that was visited.

    (VinePPO, 2410.01679, eq. 5) The value does not change within a turn's action, so its last token
    gets all of the turn's difference.
    """

    count: Count = 4  # K, from every turn of every episode; each is charged to the budget

    has_values: ClassVar[bool] = True
    keeps_states: ClassVar[bool] = True

    def __call__(self, context: ValueContext, trajectory: Trajectory) -> tuple[Value, Costs]:
        """Returns the estimated values, and what the forks cost."""
        task, turns = context.task, context.task.spec.num_turns
        sampler = Sampler(context.policy_config, context.params)
        cache = cache_episodes(task, sampler, trajectory)
        keys = context.keys(trajectory.mask.shape[1])

        def one(i):
            turn, axis = i // self.count, context.seed_axis
            return fork(task, sampler, cache, trajectory, turn, fold(keys, i), axis_name=axis)

        outcome = jax.lax.map(one, jnp.arange(turns * self.count))
        total = outcome.total.reshape((turns, self.count) + outcome.total.shape[1:])
        value = jnp.moveaxis(total.mean(1), 0, -1)
        before = jnp.broadcast_to(value[..., None], trajectory.mask.shape)
        costs = {"env_steps": outcome.turns.sum(), "generated_tokens": outcome.tokens.sum()}
        return from_state_values(before, token_rewards(trajectory), trajectory.mask, 1.0), costs


@config
class Greedy(ValueSource):
    """The return of a greedy episode at the same problem, for all turns: a baseline, not a value.

    (ReMax, 2310.10505)
    """

    has_values: ClassVar[bool] = True
    keeps_states: ClassVar[bool] = True

    def __call__(self, context: ValueContext, trajectory: Trajectory) -> tuple[Value, Costs]:
        """Returns the baseline before every token, and what the greedy episodes cost."""
        task, keys, axis = context.task, context.keys(1), context.seed_axis
        sampler = Sampler(context.policy_config, context.params, 0.0)
        first = jax.tree.map(lambda x: x[:, :1], trajectory)
        cache = cache_episodes(task, sampler, first)
        outcome = fork(task, sampler, cache, first, 0, keys, axis_name=axis)
        before = jnp.broadcast_to(outcome.total[..., None, None], trajectory.mask.shape)
        costs = {"env_steps": outcome.turns, "generated_tokens": outcome.tokens}
        return from_state_values(before, token_rewards(trajectory), trajectory.mask, 1.0), costs
