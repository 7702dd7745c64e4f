"""How well a policy does on fresh problems of a split, greedily or at a temperature."""

from functools import lru_cache, partial
from typing import Any

import jax
import jax.numpy as jnp

from agentic_rl import metrics, parallel, problems
from agentic_rl.policy.sampler import Sampler
from agentic_rl.policy.transformer import Policy
from agentic_rl.rng_streams import EVALUATE
from agentic_rl.rollout.rollout import rollout


@lru_cache
def evaluator(
    policy_config: Policy,
    episodes: int,
    attempts: int,
    split: problems.Split,
    devices: tuple,
    launcher: parallel.Launcher,
    at_once: int,
):
    """Returns a compiled `f(task, seed [S], params [S, ...], temperature) -> {metric: [S]}`.

    It plays `attempts` episodes at each of `episodes` problems. The metric "num_success" is
    [S, episodes]: successes among each problem's attempts, from which pass@k is computed.

    Args:
      at_once: how many seeds are evaluated side by side.
    """
    evaluate_seed = partial(_evaluate, policy_config, episodes, attempts, split)

    def f(task, seed, params, temperature):
        return parallel.over_seeds(
            lambda x, axis: evaluate_seed(task, x, temperature, axis), (seed, params), at_once
        )

    return parallel.launch(f, list(devices), launcher)


def _evaluate(
    policy_config: Policy,
    episodes: int,
    attempts: int,
    split: problems.Split,
    task,
    seed_and_params,
    temperature,
    seed_axis,
) -> dict[str, Any]:
    seed, params = seed_and_params
    key = jax.random.fold_in(jax.random.key(seed), EVALUATE)
    problem = parallel.my_part(jnp.arange(episodes))
    actor = Sampler(policy_config, params, temperature)
    trajectory = parallel.gather(rollout(task, actor, key, problem, attempts, split, seed_axis))
    return metrics.episode_metrics(trajectory) | {"num_success": trajectory.success.sum(1)}
