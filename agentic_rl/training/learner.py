"""One update, as every device runs it: each task's experience, then epochs of minibatches, in whose gradient a mixture's tasks meet.

A device trains on its rows of each minibatch, with token counts of the whole minibatch. So the update is the same on 1, 2 or 4
devices.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Int, Num, PRNGKeyArray

from agentic_rl import optimizer, parallel
from agentic_rl.algorithms import Algorithm
from agentic_rl.losses import kl, loss_terms
from agentic_rl.policy import transformer
from agentic_rl.policy.transformer import Policy
from agentic_rl.rng_streams import SHUFFLE
from agentic_rl.training.experience import Batch, Weights, experience
from agentic_rl.types import Spec, Task, parts


class State(NamedTuple):
    """What an update changes."""

    params: Any
    optimizer: Any
    actor: Any  # the weights that act, if they lag behind; else ()
    reference: Any  # the policy that KL is measured from; () where nothing asks for it
    step: Int[Array, ""]  # updates done
    drawn: Int[Array, ""]  # problems drawn so far: the next one's id


class Setup(NamedTuple):
    """What is static in an update."""

    policy: Policy
    total: int  # updates of the whole run, for the learning rate's schedule
    micro_batch: int  # sequences per forward and backward pass at most; 0: all at once
    has_entropy: bool


def setup(policy_: Policy, algorithm: Algorithm, total: int, micro_batch: int) -> Setup:
    """Whether there is an entropy term is decided here, on the host: a coefficient of 0 costs nothing."""
    return Setup(policy_, total, micro_batch, float(algorithm.entropy_coefficient) != 0)


def init(algorithm: Algorithm, params: Any, drawn: Int[Array, ""] | int = 0) -> State:
    """The state before the first update from `params`."""
    reference, actor = (
        jax.tree.map(jnp.copy, params) if wanted else ()
        for wanted in (algorithm.reads_reference, algorithm.refresh > 1)
    )
    return State(
        params,
        optimizer.init(algorithm.optimizer, params),
        actor,
        reference,
        jnp.int32(0),
        jnp.int32(drawn),
    )


def update(
    setup: Setup,
    task: Task,
    algorithm: Algorithm,
    key: PRNGKeyArray,
    state: State,
    seed_axis: str | tuple = (),
) -> tuple[State, dict[str, Num[Array, ""]]]:
    """The state after one update, and its metrics. Runs on each device; both are the same on all of them."""
    tasks, shuffle = parts(task), jax.random.fold_in(jax.random.fold_in(key, SHUFFLE), state.step)
    count = algorithm.problems // len(tasks)
    actor = _acting(algorithm, state)
    weights = Weights(state.params, actor, state.reference)
    made = [
        experience(setup.policy, part, algorithm, weights, part_key, state.drawn, count, seed_axis)
        for part, part_key in zip(tasks.values(), _key_of_each(key, tasks))
    ]
    batches, logs, costs = zip(*made)
    new_state, log = train(
        setup, [part.spec for part in tasks.values()], algorithm, shuffle, state, batches
    )
    log |= mean_and_each(dict(zip(tasks, logs))) | {
        name: sum(cost[name] for cost in costs) for name in costs[0]
    }
    new_state = new_state._replace(actor=actor if state.actor else ())
    return new_state._replace(
        step=state.step + 1, drawn=state.drawn + count * algorithm.selection.max_rounds
    ), log


def _acting(algorithm: Algorithm, state: State) -> Any:
    """The weights that act: the newest, or those of the last renewal."""
    is_renewed = state.step % algorithm.refresh == 0
    return (
        jax.tree.map(lambda new, old: jnp.where(is_renewed, new, old), state.params, state.actor)
        if state.actor
        else state.params
    )


def _key_of_each(key: PRNGKeyArray, parts_) -> list[PRNGKeyArray]:
    """A key for each part; the only part has the key itself."""
    return [key] if len(parts_) == 1 else [jax.random.fold_in(key, i) for i in range(len(parts_))]


def mean_and_each(logs: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """Each metric's mean over a mixture's tasks, and under "task/metric" that of each; of a single task just its metrics."""
    if len(logs) == 1:
        return next(iter(logs.values()))
    each = {f"{task}/{name}": x for task, log in logs.items() for name, x in log.items()}
    return {
        name: sum(log[name] for log in logs.values()) / len(logs)
        for name in next(iter(logs.values()))
    } | each


def predict(setup: Setup, spec, algorithm: Algorithm, params, batch: Batch):
    """Log-probability of each target token, logits and values, from one teacher-forced pass."""
    logits, value = transformer.apply(
        setup.policy, params, spec, batch.token, batch.valid, algorithm.labels == "expert"
    )
    log_prob = jax.nn.log_softmax(logits)
    return jnp.take_along_axis(log_prob, batch.target[..., None], axis=-1)[..., 0], logits, value


def loss(setup: Setup, spec, algorithm: Algorithm, params, batch: Batch, weight, share):
    """Σ weight · (−objective + terms) over the rows given, the same as "loss", and each diagnostic's Σ share · diagnostic."""
    log_prob, logits, value = predict(setup, spec, algorithm, params, batch)
    compared = log_prob, batch.old_log_prob, batch.credit, batch.mask
    per_token = -algorithm.surrogate(*compared)
    entropy = loss_terms.entropy(logits)
    log = {"entropy": entropy, "nll": -log_prob}
    if algorithm.is_on_policy:
        log |= off_policy(log_prob, batch.old_log_prob) | algorithm.surrogate.diagnostics(*compared)
    if algorithm.reads_reference:
        log["kl_reference"] = kl.estimate("k3", log_prob, batch.reference_log_prob)
    if algorithm.kl.reads_reference:
        per_token += algorithm.kl(log_prob, batch.reference_log_prob)
    if setup.has_entropy:
        per_token -= algorithm.entropy_coefficient * entropy
    if algorithm.values.learned:
        log["value_loss"] = loss_terms.value_loss(
            value, batch.old_value, batch.value_target, algorithm.values.clip
        )
        per_token += algorithm.values.coefficient * log["value_loss"]

    def add(x, w):
        return jnp.where(batch.mask, w * x, 0.0).sum()

    minimised = add(per_token, weight)
    return minimised, {name: add(x, share) for name, x in log.items()} | {"loss": minimised}


def off_policy(log_prob, old_log_prob) -> dict[str, Array]:
    """How far the policy is from the one that acted: ratio, distance of the log-probabilities, k3 estimate of the divergence."""
    gap = log_prob - old_log_prob
    return {
        "ratio": jnp.exp(gap),
        "log_prob_gap": jnp.abs(gap),
        "kl_old": kl.estimate("k3", log_prob, old_log_prob),
    }


def gradient(
    setup: Setup, specs: Sequence[Spec], algorithm: Algorithm, params, rows: Sequence[Batch]
):
    """Gradient and diagnostics of one minibatch (each task's rows), summed over tasks, micro-batches and devices."""
    masks = [batch.mask for batch in rows]
    weights, shares = (
        loss_terms.token_weight(masks, how) for how in (algorithm.aggregation, "token_mean")
    )
    each = [
        _gradient(setup, spec, algorithm, params, part)
        for spec, *part in zip(specs, rows, weights, shares)
    ]
    return parallel.total(jax.tree.map(lambda *x: sum(x[1:], x[0]), *each))


def _gradient(setup: Setup, spec: Spec, algorithm: Algorithm, params, rows_weight_share):
    """This device's part of one task's gradient and diagnostics.

    Micro-batches keep temporaries in the processor's cache; on a CPU that is half of the speed.
    """
    mine = parallel.my_part(tuple(rows_weight_share))
    count = len(mine[1])
    size = max(
        d for d in range(1, count + 1) if count % d == 0 and d <= (setup.micro_batch or count)
    )
    pieces = jax.tree.map(lambda x: x.reshape((count // size, size) + x.shape[1:]), mine)
    differentiate = jax.grad(lambda p, piece: loss(setup, spec, algorithm, p, *piece), has_aux=True)
    if count == size:
        return differentiate(params, jax.tree.map(lambda x: x[0], pieces))

    def add(so_far, piece):
        return jax.tree.map(jnp.add, so_far, differentiate(params, piece)), None

    shapes = jax.eval_shape(differentiate, params, jax.tree.map(lambda x: x[0], pieces))
    zeros = jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), shapes)
    return jax.lax.scan(add, zeros, pieces)[0]


def train(
    setup: Setup,
    specs: Sequence[Spec],
    algorithm: Algorithm,
    key: PRNGKeyArray,
    state: State,
    batches: Sequence[Batch],
) -> tuple[State, dict]:
    """`epochs` passes over each task's batch in `minibatches` random parts, each a gradient step.

    What is logged is a mean over the steps: "loss" of what was minimised, all else of means over the minibatch's tokens, the
    gradient's norm before it is clipped.
    """

    def order(key, batch):
        count = len(batch.token)
        passes = jax.vmap(lambda e: jax.random.permutation(jax.random.fold_in(key, e), count))(
            jnp.arange(algorithm.epochs)
        )
        return passes.reshape(-1, count // algorithm.minibatches)

    def step(carry, chosen):
        params, optimizer_state = carry
        rows = [jax.tree.map(lambda x: x[index], batch) for batch, index in zip(batches, chosen)]
        slope, log = gradient(setup, specs, algorithm, params, rows)
        log["gradient_norm"] = jnp.sqrt(sum(jnp.vdot(x, x) for x in jax.tree.leaves(slope)))
        log["no_gradient"] = (log["gradient_norm"] == 0).astype(
            float
        )  # of the steps: all credit 0, or nothing kept
        carry = optimizer.step(
            algorithm.optimizer, slope, optimizer_state, params, state.step, setup.total
        )
        return carry, log

    orders = [order(*key_and_batch) for key_and_batch in zip(_key_of_each(key, batches), batches)]
    (params, optimizer_state), log = jax.lax.scan(step, (state.params, state.optimizer), orders)
    first = {
        f"{name}_first_minibatch": log[name][0] for name in ("ratio", "log_prob_gap") if name in log
    }
    log = {name: x.mean() for name, x in log.items()} | first
    return state._replace(params=params, optimizer=optimizer_state), log
