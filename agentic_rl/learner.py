"""One update, as every device runs it: collect, gather, credit, then epochs of minibatches. A mixture's tasks have their own
episodes, layout and credit, and meet in the gradient.

The trajectory (never the cache) is gathered from all devices before anything is computed across episodes; a device then
trains on its rows of each minibatch, with token counts of the whole minibatch. So the update is the same on 1, 2 or 4 devices.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, Num, PRNGKeyArray

from agentic_rl import layout, losses, metrics, optimizer, parallel, policy
from agentic_rl.acting import Expert
from agentic_rl.algorithms import Algorithm
from agentic_rl.credit.gae import gae
from agentic_rl.policy import Policy
from agentic_rl.rollout import Sampler, rollout
from agentic_rl.types import Environment, Spec, Task, Trajectory, Value, parts
from agentic_rl.values import Critic

INIT, PLAY, SHUFFLE, DEMONSTRATE = range(4)  # streams of random numbers


class State(NamedTuple):
    """What an update changes."""

    params: Any
    optimizer: Any
    reference: Any  # the policy that KL is measured from; () where no term asks for it
    step: Int[Array, ""]  # updates done
    drawn: Int[Array, ""]  # problems drawn so far: the next one's id


class Setup(NamedTuple):
    """What is static in an update."""

    policy: Policy
    total: int  # updates of the whole run, for the learning rate's schedule
    micro_batch: int  # sequences per forward and backward pass at most; 0: all at once
    has_kl: bool
    has_entropy: bool


class Batch(NamedTuple):
    """Episodes flattened to rows, with all that the loss reads."""

    token: Int[Array, "B L"]
    valid: Bool[Array, "B L"]
    target: Int[Array, "B T A"]
    mask: Bool[Array, "B T A"]
    old_log_prob: Float[Array, "B T A"]
    reference_log_prob: Float[Array, "B T A"]
    credit: Float[Array, "B T A"]
    old_value: Float[Array, "B T A"]
    value_target: Float[Array, "B T A"]


def setup(policy_: Policy, algorithm: Algorithm, total: int, micro_batch: int) -> Setup:
    """Which terms exist is decided here, on the host: a coefficient of 0 costs nothing."""
    return Setup(policy_, total, micro_batch, float(algorithm.kl_coefficient) != 0, float(algorithm.entropy_coefficient) != 0)


def init(setup: Setup, algorithm: Algorithm, params: Any, drawn: Int[Array, ""] | int = 0) -> State:
    """The state before the first update from `params`."""
    reference = jax.tree.map(jnp.copy, params) if setup.has_kl else ()
    return State(params, optimizer.init(algorithm.optimizer, params), reference, jnp.int32(0), jnp.int32(drawn))


def update(
    setup: Setup, task: Task, algorithm: Algorithm, key: PRNGKeyArray, state: State, seed_axis: str | tuple = ()
) -> tuple[State, dict[str, Num[Array, ""]]]:
    """The state after one update, and its metrics. Runs on each device; both are the same on all of them."""
    tasks, shuffle = parts(task), jax.random.fold_in(jax.random.fold_in(key, SHUFFLE), state.step)
    count = algorithm.problems // len(tasks)
    made = [
        experience(setup, part, algorithm, part_key, state, count, seed_axis)
        for part, part_key in zip(tasks.values(), _key_of_each(key, tasks))
    ]
    batches, logs, costs = zip(*made)
    new_state, log = train(setup, [part.spec for part in tasks.values()], algorithm, shuffle, state, batches)
    log |= mean_and_each(dict(zip(tasks, logs))) | {name: sum(cost[name] for cost in costs) for name in costs[0]}
    return new_state._replace(step=state.step + 1, drawn=state.drawn + count), log


def _key_of_each(key: PRNGKeyArray, parts_) -> list[PRNGKeyArray]:
    """A key for each part; the only part has the key itself."""
    return [key] if len(parts_) == 1 else [jax.random.fold_in(key, i) for i in range(len(parts_))]


def mean_and_each(logs: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """Each metric's mean over a mixture's tasks, and under "task/metric" that of each; of a single task just its metrics."""
    if len(logs) == 1:
        return next(iter(logs.values()))
    each = {f"{task}/{name}": x for task, log in logs.items() for name, x in log.items()}
    return {name: sum(log[name] for log in logs.values()) / len(logs) for name in next(iter(logs.values()))} | each


def experience(setup: Setup, task: Environment, algorithm: Algorithm, key: PRNGKeyArray, state: State, count: int, seed_axis=()):
    """One task's episodes at `count` problems, with their credit: the batch to train on, its metrics, and what it cost."""
    trajectory = collect(setup, task, algorithm, key, state, count, seed_axis)
    value = algorithm.values(setup.policy, state.params, task.spec, trajectory)
    trajectory, before, after = parallel.gather((trajectory, value.before, value.after))
    value = value._replace(before=before, after=after)
    batch = make_batch(algorithm, trajectory, value)
    log = metrics.episode_metrics(trajectory) | credit_metrics(batch, value, trajectory, isinstance(algorithm.values, Critic))
    return batch, log, budget(setup, task.spec, algorithm, state, trajectory, batch)


def collect(setup: Setup, task: Environment, algorithm: Algorithm, key: PRNGKeyArray, state: State, count: int, seed_axis=()) -> Trajectory:
    """This device's share of the episodes at `count` problems, with the reference's log-probabilities if a KL term asks for them."""
    problem = state.drawn + jnp.arange(count)
    actor, stream = algorithm.actor, DEMONSTRATE
    if isinstance(actor, Expert):
        problem = problem % actor.num_demos if actor.num_demos else problem
    else:
        actor, stream = Sampler(setup.policy, state.params), PLAY
    problem = parallel.my_part(problem)
    trajectory = rollout(task, actor, jax.random.fold_in(key, stream), problem, algorithm.attempts, axis_name=seed_axis)
    if not setup.has_kl:
        return trajectory
    batch = make_batch(algorithm, trajectory, None)
    log_prob, _, _ = predict(setup, task.spec, algorithm, state.reference, batch)
    return trajectory._replace(reference_log_prob=log_prob.reshape(trajectory.mask.shape))


def make_batch(algorithm: Algorithm, trajectory: Trajectory, value: Any) -> Batch:
    """The rows to train on; without `value`, only what a forward pass reads."""
    branched = algorithm.labels == "expert"
    token, valid = layout.tokens(trajectory, branched)
    target, mask = (trajectory.label, trajectory.label_mask) if branched else (trajectory.action, trajectory.mask)
    credit = old_value = value_target = jnp.zeros(mask.shape)
    if value is not None:
        credit = algorithm.credit(trajectory, value)
        credit = jnp.where(mask, credit[..., None] if credit.ndim == 3 else credit, 0.0)
        old_value = value.before
    if value is not None and isinstance(algorithm.values, Critic):
        value_target = algorithm.values.target(value, trajectory.mask)
    batch = Batch(token, valid, target, mask, trajectory.log_prob, trajectory.reference_log_prob, credit, old_value, value_target)
    return jax.tree.map(lambda x: x.reshape((-1,) + x.shape[2:]), batch)


def predict(setup: Setup, spec, algorithm: Algorithm, params, batch: Batch):
    """Log-probability of each target token, logits and values, from one teacher-forced pass."""
    logits, value = policy.apply(setup.policy, params, spec, batch.token, batch.valid, algorithm.labels == "expert")
    log_prob = jax.nn.log_softmax(logits)
    return jnp.take_along_axis(log_prob, batch.target[..., None], axis=-1)[..., 0], logits, value


def loss(setup: Setup, spec, algorithm: Algorithm, params, batch: Batch, weight, share):
    """Σ weight · (−objective + terms) over the rows given, and each diagnostic's Σ share · diagnostic."""
    log_prob, logits, value = predict(setup, spec, algorithm, params, batch)
    per_token = -algorithm.surrogate(log_prob, batch.old_log_prob, batch.credit)
    entropy = losses.entropy(logits)
    log = {"entropy": entropy, "nll": -log_prob}
    if algorithm.is_on_policy:
        log["kl_old"] = losses.kl_k3(log_prob, batch.old_log_prob)
        log["ratio_gap"] = jnp.abs(jnp.expm1(log_prob - batch.old_log_prob))
        log |= algorithm.surrogate.diagnostics(log_prob, batch.old_log_prob, batch.credit)
    if setup.has_kl:
        log["kl_reference"] = losses.kl_k3(log_prob, batch.reference_log_prob)
        per_token += algorithm.kl_coefficient * log["kl_reference"]
    if setup.has_entropy:
        per_token -= algorithm.entropy_coefficient * entropy
    if isinstance(algorithm.values, Critic):
        log["value_loss"] = losses.value_loss(value, batch.old_value, batch.value_target, algorithm.values.clip)
        per_token += algorithm.values.coefficient * log["value_loss"]
    log["loss"] = per_token

    def add(x, w):
        return jnp.where(batch.mask, w * x, 0.0).sum()

    return add(per_token, weight), {name: add(x, share) for name, x in log.items()}


def gradient(setup: Setup, specs: Sequence[Spec], algorithm: Algorithm, params, rows: Sequence[Batch]):
    """Gradient and diagnostics of one minibatch (each task's rows), summed over tasks, micro-batches and devices."""
    masks = [batch.mask for batch in rows]
    weights, shares = (losses.token_weight(masks, how) for how in (algorithm.aggregation, "token_mean"))
    each = [_gradient(setup, spec, algorithm, params, part) for spec, *part in zip(specs, rows, weights, shares)]
    return parallel.total(jax.tree.map(lambda *x: sum(x[1:], x[0]), *each))


def _gradient(setup: Setup, spec: Spec, algorithm: Algorithm, params, rows_weight_share):
    """This device's part of one task's gradient and diagnostics.

    Micro-batches keep temporaries in the processor's cache; on a CPU that is half of the speed.
    """
    mine = parallel.my_part(tuple(rows_weight_share))
    count = len(mine[1])
    size = max(d for d in range(1, count + 1) if count % d == 0 and d <= (setup.micro_batch or count))
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
    setup: Setup, specs: Sequence[Spec], algorithm: Algorithm, key: PRNGKeyArray, state: State, batches: Sequence[Batch]
) -> tuple[State, dict]:
    """`epochs` passes over each task's batch in `minibatches` random parts; diagnostics are means over the gradient steps."""

    def order(key, batch):
        count = len(batch.token)
        passes = jax.vmap(lambda e: jax.random.permutation(jax.random.fold_in(key, e), count))(jnp.arange(algorithm.epochs))
        return passes.reshape(-1, count // algorithm.minibatches)

    def step(carry, chosen):
        params, optimizer_state = carry
        rows = [jax.tree.map(lambda x: x[index], batch) for batch, index in zip(batches, chosen)]
        slope, log = gradient(setup, specs, algorithm, params, rows)
        log["gradient_norm"] = jnp.sqrt(sum(jnp.vdot(x, x) for x in jax.tree.leaves(slope)))
        carry = optimizer.step(algorithm.optimizer, slope, optimizer_state, params, state.step, setup.total)
        return carry, log

    orders = [order(*key_and_batch) for key_and_batch in zip(_key_of_each(key, batches), batches)]
    (params, optimizer_state), log = jax.lax.scan(step, (state.params, state.optimizer), orders)
    first = {"ratio_gap_first_minibatch": log["ratio_gap"][0]} if "ratio_gap" in log else {}
    log = {name: x.mean() for name, x in log.items()} | first
    return state._replace(params=params, optimizer=optimizer_state), log


def credit_metrics(batch: Batch, value: Value, trajectory: Trajectory, has_critic: bool) -> dict[str, Float[Array, ""]]:
    """Mean and standard deviation of credit over trained tokens; how much of the return's variance the critic explains."""
    count = jnp.maximum(batch.mask.sum(), 1)
    mean = batch.credit.sum() / count
    std = jnp.sqrt(jnp.where(batch.mask, (batch.credit - mean) ** 2, 0.0).sum() / count)
    log = {"credit_mean": mean, "credit_std": std}
    return log | ({"explained_variance": explained_variance(value, trajectory.mask)} if has_critic else {})


def explained_variance(value: Value, mask: Bool[Array, "N G T A"]) -> Float[Array, ""]:
    """1 − Var(G − V) / Var(G) over unmasked tokens, G the (discounted) reward to go; 0 where all returns are alike."""
    to_go = value.before + gae(value, mask, 1.0)
    unexplained, variance = (jnp.var(x, where=mask) for x in (to_go - value.before, to_go))
    return jnp.where(variance > 1e-8, 1 - unexplained / jnp.maximum(variance, 1e-8), 0.0)


def budget(setup: Setup, spec, algorithm: Algorithm, state: State, trajectory: Trajectory, batch: Batch) -> dict[str, Num[Array, ""]]:
    """What this update cost. A demonstration that was seen before costs no new steps and no new labels.

    FLOPs: 2 per weight and token read or written in a rollout, 6 per weight and token trained on, context included.
    """
    alive = trajectory.mask.any(-1)
    is_expert = isinstance(algorithm.actor, Expert)
    count = len(alive)
    is_new = jnp.ones(count, bool)
    if is_expert and algorithm.actor.num_demos:
        is_new = state.drawn + jnp.arange(count) < algorithm.actor.num_demos
    turns = jnp.where(is_new[:, None, None], alive, False).sum()
    labels = jnp.where(is_new[:, None, None, None], trajectory.label_mask, False).sum()
    played = spec.prompt_length * count + alive.sum() * (spec.observation_length + spec.action_length)
    passes = isinstance(algorithm.values, Critic) + setup.has_kl
    trained = batch.token.size * (6 * algorithm.epochs + 2 * passes)
    weights, nothing = sum(x.size for x in jax.tree.leaves(state.params)), jnp.int32(0)
    return {
        "env_steps": turns,
        "generated_tokens": nothing if is_expert else trajectory.mask.sum(),
        "trained_tokens": batch.mask.sum() * algorithm.epochs,
        "expert_labels": labels if is_expert or algorithm.labels == "expert" else nothing,
        "flops": weights * (trained + (0.0 if is_expert else 2.0) * played),
    }
