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
    """The mean return of `count` episodes played on from each state that was visited. (VinePPO, 2410.01679, eq. 5)

    Within a turn's action the value does not change; its last token gets all of the turn's difference.
    """

    count: Count = 4  # K, from every turn of every episode; each is charged to the budget

    has_values: ClassVar[bool] = True
    keeps_states: ClassVar[bool] = True

    def __call__(self, context: ValueContext, trajectory: Trajectory) -> tuple[Value, Costs]:
        """The estimated values, and what the forks cost."""
        sampler = Sampler(context.policy_config, context.params)
        cache, turns = (
            cache_episodes(context.task, sampler, trajectory),
            context.task.spec.num_turns,
        )
        keys = context.keys(trajectory.mask.shape[1])

        def one(i):
            return fork(
                context.task,
                sampler,
                cache,
                trajectory,
                i // self.count,
                fold(keys, i),
                axis_name=context.seed_axis,
            )

        outcome = jax.lax.map(one, jnp.arange(turns * self.count))
        value = jnp.moveaxis(
            outcome.total.reshape((turns, self.count) + outcome.total.shape[1:]).mean(1), 0, -1
        )
        before = jnp.broadcast_to(value[..., None], trajectory.mask.shape)
        spent = {"env_steps": outcome.turns.sum(), "generated_tokens": outcome.tokens.sum()}
        return from_state_values(before, token_rewards(trajectory), trajectory.mask, 1.0), spent


@config
class Greedy(ValueSource):
    """The return of the policy's likeliest actions at the same problem, for all turns: a baseline, not a value. (ReMax, 2310.10505)"""

    has_values: ClassVar[bool] = True
    keeps_states: ClassVar[bool] = True

    def __call__(self, context: ValueContext, trajectory: Trajectory) -> tuple[Value, Costs]:
        """The baseline before every token, and what the greedy episodes cost."""
        sampler, one = (
            Sampler(context.policy_config, context.params, 0.0),
            jax.tree.map(lambda x: x[:, :1], trajectory),
        )
        cache = cache_episodes(context.task, sampler, one)
        outcome = fork(
            context.task, sampler, cache, one, 0, context.keys(1), axis_name=context.seed_axis
        )
        before = jnp.broadcast_to(outcome.total[..., None, None], trajectory.mask.shape)
        spent = {"env_steps": outcome.turns, "generated_tokens": outcome.tokens}
        return from_state_values(before, token_rewards(trajectory), trajectory.mask, 1.0), spent
