"""One update, as every device runs it: each task's experience, then gradient steps on it.

The gradients of a mixture's tasks are added up in every step. The update is the same on 1, 2 or 4
devices.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Int, Num, PRNGKeyArray

from agentic_rl import optimizer
from agentic_rl.algorithms import Algorithm
from agentic_rl.policy.transformer import Policy
from agentic_rl.rng_streams import SHUFFLE
from agentic_rl.training.batch import Batch
from agentic_rl.training.experience import Weights, experience
from agentic_rl.training.gradients import Setup, gradient
from agentic_rl.types import Spec, Task, parts


class State(NamedTuple):
    """What an update changes."""

    params: Any
    optimizer: Any
    actor: Any  # the weights that act, if they lag behind; else None
    reference: Any  # the weights that KL is measured from; None where nothing reads them
    step: Int[Array, ""]  # updates done
    drawn: Int[Array, ""]  # problems drawn so far, which is the next one's id


def setup(policy_config: Policy, algorithm: Algorithm, total: int, micro_batch: int) -> Setup:
    """Returns what is static in an update.

    Whether there is an entropy term is decided here, on the host, so that a coefficient of 0 costs
    nothing.
    """
    return Setup(policy_config, total, micro_batch, float(algorithm.entropy_coefficient) != 0)


def init(algorithm: Algorithm, params: Any, drawn: Int[Array, ""] | int = 0) -> State:
    """Returns the state before the first update from `params`."""
    copies = [
        jax.tree.map(jnp.copy, params) if is_needed else None
        for is_needed in (algorithm.refresh > 1, algorithm.reads_reference)
    ]
    optimizer_state = optimizer.init(algorithm.optimizer, params)
    return State(params, optimizer_state, *copies, jnp.int32(0), jnp.int32(drawn))


def update(
    setup: Setup,
    task: Task,
    algorithm: Algorithm,
    key: PRNGKeyArray,
    state: State,
    seed_axis: str | tuple = (),
) -> tuple[State, dict[str, Num[Array, ""]]]:
    """Returns the state after one update, and its metrics, the same on every device."""
    tasks = parts(task)
    shuffle_key = jax.random.fold_in(jax.random.fold_in(key, SHUFFLE), state.step)
    count = algorithm.problems // len(tasks)
    actor = _acting_weights(algorithm, state)
    weights = Weights(state.params, actor, state.reference)
    experiences = [
        experience(
            part, setup.policy_config, algorithm, weights, part_key, state.drawn, count, seed_axis
        )
        for part, part_key in zip(tasks.values(), _part_keys(key, len(tasks)))
    ]
    specs = [part.spec for part in tasks.values()]
    batches = [x.batch for x in experiences]
    new_state, log = take_gradient_steps(setup, specs, algorithm, shuffle_key, state, batches)
    log |= mean_and_each({name: x.log for name, x in zip(tasks, experiences)})
    for name in experiences[0].costs:
        log[name] = sum(x.costs[name] for x in experiences)
    return new_state._replace(
        actor=None if state.actor is None else actor,
        step=state.step + 1,
        drawn=state.drawn + count * algorithm.selection.max_rounds,
    ), log


def _acting_weights(algorithm: Algorithm, state: State) -> Any:
    """Returns the weights that act: the newest, or those of the last renewal."""
    if state.actor is None:
        return state.params
    is_renewed = state.step % algorithm.refresh == 0
    return jax.tree.map(lambda new, old: jnp.where(is_renewed, new, old), state.params, state.actor)


def _part_keys(key: PRNGKeyArray, count: int) -> list[PRNGKeyArray]:
    """Returns a key for each part; the only part has the key itself."""
    return [key] if count == 1 else [jax.random.fold_in(key, i) for i in range(count)]


def mean_and_each(logs: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """Returns each metric's mean over a mixture's tasks, and each task's under "task/metric".

    The log of a single task is returned as it is.
    """
    if len(logs) == 1:
        return next(iter(logs.values()))
    metrics = next(iter(logs.values()))
    means = {name: sum(log[name] for log in logs.values()) / len(logs) for name in metrics}
    return means | {f"{task}/{name}": x for task, log in logs.items() for name, x in log.items()}


def take_gradient_steps(
    setup: Setup,
    specs: Sequence[Spec],
    algorithm: Algorithm,
    key: PRNGKeyArray,
    state: State,
    batches: Sequence[Batch],
) -> tuple[State, dict[str, Num[Array, ""]]]:
    """Makes `epochs` passes over each task's batch in `minibatches` random parts, a step for each.

    A metric is the mean over the steps of the mean over a minibatch's tokens. "loss" is what was
    minimised, "gradient_norm" is measured before clipping, and "no_gradient" is the share of steps
    whose gradient is 0 because all credit is, or because no episode was kept.
    """

    def step(carry, indices):
        params, optimizer_state = carry
        minibatches = [
            jax.tree.map(lambda x: x[index], batch) for batch, index in zip(batches, indices)
        ]
        slope, log = gradient(setup, specs, algorithm, params, minibatches)
        log["gradient_norm"] = jnp.sqrt(sum(jnp.vdot(x, x) for x in jax.tree.leaves(slope)))
        log["no_gradient"] = (log["gradient_norm"] == 0).astype(float)
        carry = optimizer.step(
            algorithm.optimizer, slope, optimizer_state, params, state.step, setup.total
        )
        return carry, log

    keys = _part_keys(key, len(batches))
    orders = [
        _random_order(algorithm, part_key, len(batch.token))
        for part_key, batch in zip(keys, batches)
    ]
    (params, optimizer_state), log = jax.lax.scan(step, (state.params, state.optimizer), orders)
    means = {name: x.mean() for name, x in log.items()}
    for name in ("ratio", "log_prob_gap"):
        if name in log:
            means[f"{name}_first_minibatch"] = log[name][0]
    return state._replace(params=params, optimizer=optimizer_state), means


def _random_order(algorithm: Algorithm, key: PRNGKeyArray, count: int) -> Int[Array, "steps B"]:
    """Returns the indices of the sequences in each step's minibatch, over all epochs."""

    def permute(epoch):
        return jax.random.permutation(jax.random.fold_in(key, epoch), count)

    passes = jax.vmap(permute)(jnp.arange(algorithm.epochs))
    return passes.reshape(-1, count // algorithm.minibatches)
