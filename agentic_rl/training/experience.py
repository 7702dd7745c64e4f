"""One task's part of an update, up to the gradient: collect episodes, value them, credit them.

The trajectory (never the cache) is gathered from all devices before anything is computed across
episodes, so that the batch is the same on 1, 2 or 4 devices.

The policy acts with a cache, token by token, and is trained in one pass over whole episodes. In
bfloat16 the two may round differently, so that ratios leave a narrow clip before any step (verl:
rollout-training mismatch; TRL: training-inference mismatch). Programs are therefore compiled so
that they round where they say so (`parallel.OPTIONS`). Without that, 58% of the episodes were
outside of GSPO's clip after 50 updates on running_sum, on a CPU. An accelerator's order of
additions leaves a smaller difference, which is dealt with here: outside float32 the update compares
with log-probabilities from a pass as in training, which is verl's default, and logs their mean
distance from those that were sampled with as `sampler_gap`. The episodes were still drawn from a
slightly different policy. Both libraries can correct that by truncated importance sampling (verl's
rollout correction, TRL's vllm_importance_sampling_correction); this module does not.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Int, Num, PRNGKeyArray

from agentic_rl import metrics, parallel
from agentic_rl.algorithms import Algorithm
from agentic_rl.policy.episode_pass import read_episodes
from agentic_rl.policy.sampler import Sampler
from agentic_rl.policy.transformer import Policy
from agentic_rl.rng_streams import DEMONSTRATE, PLAY, VALUES
from agentic_rl.rollout.actors import Expert
from agentic_rl.rollout.rollout import rollout
from agentic_rl.training.batch import Batch, make_batch
from agentic_rl.training.update_metrics import credit_metrics, update_costs
from agentic_rl.types import Environment, Spec, Trajectory
from agentic_rl.values import Costs, ValueContext


class Weights(NamedTuple):
    """The weights of the policies that an update needs."""

    learner: Any
    actor: Any  # of the policy that acts: the learner's, or older ones
    reference: Any  # of the policy at the start of the run; None where nothing reads it


class Experience(NamedTuple):
    """A batch to train on, the metrics of its episodes, and its costs."""

    batch: Batch
    log: dict[str, Any]
    costs: dict[str, Num[Array, ""]]


def experience(
    task: Environment,
    policy_config: Policy,
    algorithm: Algorithm,
    weights: Weights,
    key: PRNGKeyArray,
    first_problem: Int[Array, ""],
    count: int,
    seed_axis: str | tuple = (),
) -> Experience:
    """Returns episodes at `count` problems from `first_problem` on, with their credit.

    There are more problems if the selection has some of them drawn again.
    """
    problem = parallel.my_part(first_problem + jnp.arange(count))
    trajectory, discarded = collect(
        task, policy_config, algorithm, weights, key, problem, count, seed_axis
    )
    trajectory, gap = reread(task.spec, policy_config, algorithm, weights.actor, trajectory)
    credited = algorithm.reward(trajectory)
    values_key = jax.random.fold_in(key, VALUES)
    context = ValueContext(task, policy_config, weights.learner, problem, values_key, seed_axis)
    value, forked = algorithm.values(context, credited)
    trajectory, credited, before, after = parallel.gather(
        [x._replace(state=()) for x in (trajectory, credited)] + [value.before, value.after]
    )
    value = value._replace(before=before, after=after)
    kept = algorithm.selection(trajectory)
    batch = make_batch(algorithm, credited, value, kept)
    log = metrics.episode_metrics(trajectory) | {"kept": kept.mean()} | gap
    log |= credit_metrics(algorithm, batch, value, credited)
    extra = {
        name: parallel.total(sum(x.get(name, 0) for x in (discarded, forked)))
        for name in ("env_steps", "generated_tokens")
    }
    costs = update_costs(
        task.spec,
        weights.learner,
        algorithm,
        first_problem,
        trajectory,
        batch,
        extra,
        needs_reread(policy_config, algorithm),
    )
    return Experience(batch, log, costs)


def collect(
    task: Environment,
    policy_config: Policy,
    algorithm: Algorithm,
    weights: Weights,
    key: PRNGKeyArray,
    problem: Int[Array, " N"],
    count: int,
    seed_axis: str | tuple = (),
) -> tuple[Trajectory, Costs]:
    """Returns the episodes at this device's problems, and the costs of those drawn again.

    A slot is drawn again, with the problem `count` numbers further on, until its group is kept or
    no round is left.
    """
    actor, stream = Sampler(policy_config, weights.actor), PLAY
    if isinstance(algorithm.actor, Expert):
        actor, stream = algorithm.actor, DEMONSTRATE
        problem = problem % actor.num_demos if actor.num_demos else problem

    def play(problem, active=None):
        return rollout(
            task,
            actor,
            jax.random.fold_in(key, stream),
            problem,
            algorithm.attempts,
            axis_name=seed_axis,
            active=active,
            keep_states=algorithm.values.keeps_states,
        )

    trajectory = play(problem)
    costs = {"env_steps": jnp.int32(0), "generated_tokens": jnp.int32(0)}
    if algorithm.selection.max_rounds > 1:
        trajectory, costs = _draw_again(
            algorithm, play, problem, count, trajectory, costs, seed_axis
        )
    if algorithm.reads_reference:
        log_prob, _ = read_episodes(policy_config, weights.reference, task.spec, trajectory)
        trajectory = trajectory._replace(reference_log_prob=log_prob)
    return trajectory, costs


def _draw_again(
    algorithm: Algorithm,
    play: Callable[..., Trajectory],
    problem: Int[Array, " N"],
    count: int,
    trajectory: Trajectory,
    costs: Costs,
    seed_axis: str | tuple,
) -> tuple[Trajectory, Costs]:
    """Plays the slots whose group is not kept again, at other problems, for some rounds."""

    def rejected(trajectory):
        return ~algorithm.selection(trajectory).any(1)

    def is_short(carry):
        round_, trajectory, _ = carry
        some_rejected = jax.lax.pmax(rejected(trajectory).any(), seed_axis)
        return (round_ < algorithm.selection.max_rounds) & some_rejected

    def again(carry):
        round_, old, costs = carry
        slot = rejected(old)
        new = play(problem + round_ * count, slot)
        dropped = old.mask & slot[:, None, None, None]
        cost = {"env_steps": dropped.any(-1).sum(), "generated_tokens": dropped.sum()}

        def choose(x, y):
            return jnp.where(slot.reshape((-1,) + (1,) * (x.ndim - 1)), x, y)

        return round_ + 1, jax.tree.map(choose, new, old), jax.tree.map(jnp.add, costs, cost)

    return jax.lax.while_loop(is_short, again, (jnp.int32(1), trajectory, costs))[1:]


def needs_reread(policy_config: Policy, algorithm: Algorithm) -> bool:
    """Returns whether the old log-probabilities come from a pass as in training.

    In float32 those that were sampled with are the same.
    """
    return policy_config.dtype != "float32" and algorithm.reads_old_log_prob


def reread(
    spec: Spec, policy_config: Policy, algorithm: Algorithm, params: Any, trajectory: Trajectory
) -> tuple[Trajectory, dict[str, Array]]:
    """Returns the episodes with log-probabilities as training computes them.

    The log holds their mean distance from those that were sampled with, `sampler_gap`.
    """
    if not needs_reread(policy_config, algorithm):
        return trajectory, {}
    log_prob, _ = read_episodes(policy_config, params, spec, trajectory)
    log_prob = jnp.where(trajectory.mask, log_prob, 0.0)
    distance = parallel.total(jnp.abs(log_prob - trajectory.log_prob).sum())
    count = parallel.total(trajectory.mask.sum())
    gap = distance / jnp.maximum(count, 1)
    return trajectory._replace(log_prob=log_prob), {"sampler_gap": gap}
