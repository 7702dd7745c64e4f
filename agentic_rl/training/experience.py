"""One task's part of an update, up to the gradient: collect episodes, value them, gather them from all devices, credit them.

The trajectory (never the cache) is gathered before anything is computed across episodes, so that the batch is the same on 1, 2
or 4 devices.

The policy acts with a cache, token by token, and is trained in one pass over whole episodes. In bfloat16 the two may round
differently, so that ratios leave a narrow clip before any step (verl: rollout-training mismatch; TRL: training-inference mismatch).
Programs are therefore compiled so that they round where they say so (`parallel.OPTIONS`); without that, after 50 updates on
running_sum, 58% of the episodes were outside of GSPO's clip on a CPU. What an accelerator's order of additions leaves is taken care
of here: outside float32 the log-probabilities that the update compares with are taken from a pass as in training, as verl does by
default, and the mean distance from those that were sampled with is logged as `sampler_gap`. The episodes were still drawn from a
slightly other policy, which both can weigh by truncated importance sampling (verl's rollout correction, TRL's
vllm_importance_sampling_correction); that is not done here.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, Num, PRNGKeyArray

from agentic_rl import metrics, parallel, tokens
from agentic_rl.algorithms import Algorithm
from agentic_rl.credit.gae import gae
from agentic_rl.credit.returns import whiten
from agentic_rl.policy import layout, transformer
from agentic_rl.policy.sampler import Sampler
from agentic_rl.policy.transformer import Policy
from agentic_rl.rng_streams import DEMONSTRATE, PLAY, VALUES
from agentic_rl.rollout.actors import Expert
from agentic_rl.rollout.rollout import rollout
from agentic_rl.types import Environment, Spec, Trajectory, Value
from agentic_rl.values import Costs, ValueContext


class Weights(NamedTuple):
    """Of the policies that an update needs."""

    learner: Any
    actor: Any  # of the policy that acts: the learner's, or older ones
    reference: Any  # of the policy at the start of the run; () where nothing asks for it


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


class Experience(NamedTuple):
    """What is trained on, what it tells, and what it cost."""

    batch: Batch
    log: dict[str, Any]
    spent: dict[str, Num[Array, ""]]


def experience(
    policy_config: Policy, task: Environment, algorithm: Algorithm, weights: Weights, key: PRNGKeyArray, drawn: Int[Array, ""], count: int,
    seed_axis: str | tuple = (),
) -> Experience:  # fmt: skip
    """Episodes at the `count` problems from number `drawn` on (more, if some are drawn again), with their credit."""
    problem = parallel.my_part(drawn + jnp.arange(count))
    trajectory, discarded = collect(
        policy_config, task, algorithm, weights, key, problem, count, seed_axis
    )
    trajectory, gap = reread(policy_config, task.spec, algorithm, weights.actor, trajectory)
    credited = algorithm.reward(trajectory)
    world = ValueContext(
        task, policy_config, weights.learner, problem, jax.random.fold_in(key, VALUES), seed_axis
    )
    value, forked = algorithm.values(world, credited)
    trajectory, credited, before, after = parallel.gather(
        [x._replace(state=()) for x in (trajectory, credited)] + [value.before, value.after]
    )
    value = value._replace(before=before, after=after)
    kept = algorithm.selection(trajectory)
    batch = make_batch(algorithm, credited, value, kept)
    log = (
        metrics.episode_metrics(trajectory)
        | credit_metrics(algorithm, batch, value, credited)
        | {"kept": kept.mean()}
        | gap
    )
    more = {
        name: parallel.total(sum(x.get(name, 0) for x in (discarded, forked)))
        for name in ("env_steps", "generated_tokens")
    }
    return Experience(
        batch,
        log,
        budget(
            algorithm,
            task.spec,
            weights,
            drawn,
            trajectory,
            batch,
            more,
            rereads(policy_config, algorithm),
        ),
    )


def collect(
    policy_config: Policy, task: Environment, algorithm: Algorithm, weights: Weights, key: PRNGKeyArray, problem: Int[Array, " N"], count: int,
    seed_axis: str | tuple = (),
) -> tuple[Trajectory, Costs]:  # fmt: skip
    """The episodes at this device's problems, and what was spent on others that the selection had drawn again.

    A slot is drawn again with the problem `count` numbers further on, until its group is kept or no round is left.
    """
    actor, stream = Sampler(policy_config, weights.actor), PLAY
    if isinstance(algorithm.actor, Expert):
        actor, stream = algorithm.actor, DEMONSTRATE
        problem = problem % actor.num_demos if actor.num_demos else problem

    def play(problem, wanted=None):
        stream_key = jax.random.fold_in(key, stream)
        keep_states = algorithm.values.keeps_states
        return rollout(
            task,
            actor,
            stream_key,
            problem,
            algorithm.attempts,
            axis_name=seed_axis,
            active=wanted,
            keep_states=keep_states,
        )

    trajectory, spent = play(problem), {"env_steps": jnp.int32(0), "generated_tokens": jnp.int32(0)}
    if algorithm.selection.max_rounds > 1:
        trajectory, spent = _draw_again(
            algorithm, play, problem, count, trajectory, spent, seed_axis
        )
    if algorithm.reads_reference:
        trajectory = trajectory._replace(
            reference_log_prob=_log_prob(policy_config, task.spec, weights.reference, trajectory)
        )
    return trajectory, spent


def _draw_again(
    algorithm: Algorithm, play, problem, count: int, trajectory: Trajectory, spent: Costs, seed_axis
):
    """Slots whose group is not kept are played again, at other problems, for some rounds."""

    def wanted(trajectory):
        return ~algorithm.selection(trajectory).any(1)

    def is_short(carry):
        round_, trajectory, _ = carry
        return (round_ < algorithm.selection.max_rounds) & jax.lax.pmax(
            wanted(trajectory).any(), seed_axis
        )

    def again(carry):
        round_, old, spent = carry
        slot = wanted(old)
        new = play(problem + round_ * count, slot)
        dropped = old.mask & slot[:, None, None, None]
        cost = {"env_steps": dropped.any(-1).sum(), "generated_tokens": dropped.sum()}
        merged = jax.tree.map(
            lambda x, y: jnp.where(slot.reshape((-1,) + (1,) * (x.ndim - 1)), x, y), new, old
        )
        return round_ + 1, merged, jax.tree.map(jnp.add, spent, cost)

    return jax.lax.while_loop(is_short, again, (jnp.int32(1), trajectory, spent))[1:]


def _log_prob(
    policy_config: Policy, spec: Spec, params, trajectory: Trajectory
) -> Float[Array, "N G T A"]:
    """Of the actions taken, by these weights."""
    token, valid = (x.reshape((-1, x.shape[-1])) for x in layout.tokens(trajectory))
    log_prob = jax.nn.log_softmax(transformer.apply(policy_config, params, spec, token, valid)[0])
    chosen = trajectory.action.reshape(log_prob.shape[:-1])
    return jnp.take_along_axis(log_prob, chosen[..., None], axis=-1).reshape(trajectory.mask.shape)


def rereads(policy_config: Policy, algorithm: Algorithm) -> bool:
    """Whether old log-probabilities come from a pass as in training; in float32 those that were sampled with are the same."""
    return policy_config.dtype != "float32" and algorithm.reads_old_log_prob


def reread(
    policy_config: Policy, spec: Spec, algorithm: Algorithm, params, trajectory: Trajectory
) -> tuple[Trajectory, dict[str, Array]]:
    """The episodes with log-probabilities as training computes them, and how far these are from those sampled with."""
    if not rereads(policy_config, algorithm):
        return trajectory, {}
    log_prob = jnp.where(trajectory.mask, _log_prob(policy_config, spec, params, trajectory), 0.0)
    away, count = (
        parallel.total(x.sum()) for x in (jnp.abs(log_prob - trajectory.log_prob), trajectory.mask)
    )
    return trajectory._replace(log_prob=log_prob), {"sampler_gap": away / jnp.maximum(count, 1)}


def make_batch(
    algorithm: Algorithm,
    trajectory: Trajectory,
    value: Value,
    kept: Bool[Array, "N G"] | None = None,
) -> Batch:
    """The rows to train on, with their credit: a label's is that of the turn's first token. What is not kept counts for others only."""
    branched, mask = (
        algorithm.labels == "expert",
        trajectory.mask if kept is None else trajectory.mask & kept[..., None, None],
    )
    credit = algorithm.credit(trajectory, value)
    if algorithm.credit.whiten:
        credit = whiten(credit, mask)  # once more: over what is trained on
    credit = credit[..., None] if credit.ndim == 3 else credit[..., :1] if branched else credit
    if algorithm.credit.tells_outcome:
        first = jnp.arange(trajectory.prompt.shape[-1]) == 0
        trajectory = trajectory._replace(
            prompt=jnp.where(first & ~trajectory.success[..., None], tokens.FAIL, trajectory.prompt)
        )
    token, valid = layout.tokens(trajectory, branched)
    target, mask = (
        (trajectory.label, trajectory.label_mask & mask.any((2, 3), keepdims=True))
        if branched
        else (trajectory.action, mask)
    )
    credit = jnp.where(mask, credit, 0.0)
    value_target = (
        algorithm.values.target(value, trajectory.mask)
        if algorithm.values.learned
        else jnp.zeros(mask.shape)
    )
    old = trajectory.log_prob, trajectory.reference_log_prob
    batch = Batch(token, valid, target, mask, *old, credit, value.before, value_target)
    return jax.tree.map(lambda x: x.reshape((-1,) + x.shape[2:]), batch)


def credit_metrics(
    algorithm: Algorithm, batch: Batch, value: Value, trajectory: Trajectory
) -> dict[str, Float[Array, ""]]:
    """Mean and standard deviation of credit over trained tokens; how much of the return's variance the values explain."""
    count = jnp.maximum(batch.mask.sum(), 1)
    mean = batch.credit.sum() / count
    std = jnp.sqrt(jnp.where(batch.mask, (batch.credit - mean) ** 2, 0.0).sum() / count)
    log = {"credit_mean": mean, "credit_std": std}
    return log | (
        {"explained_variance": explained_variance(value, trajectory.mask)}
        if algorithm.values.has_values
        else {}
    )


def explained_variance(value: Value, mask: Bool[Array, "N G T A"]) -> Float[Array, ""]:
    """1 − Var(G − V) / Var(G) over unmasked tokens, G the (discounted) reward to go; 0 where all returns are alike."""
    to_go = value.before + gae(value, mask, 1.0)
    unexplained, variance = (jnp.var(x, where=mask) for x in (to_go - value.before, to_go))
    return jnp.where(variance > 1e-8, 1 - unexplained / jnp.maximum(variance, 1e-8), 0.0)


def budget(
    algorithm: Algorithm,
    spec: Spec,
    weights: Weights,
    drawn: Int[Array, ""],
    trajectory: Trajectory,
    batch: Batch,
    more: Costs,
    rereads: bool,
) -> dict[str, Num[Array, ""]]:
    """What this update cost, `more` included. A demonstration that was seen before costs no new steps and no new labels.

    FLOPs: 2 per weight and token read or written in a rollout, 6 per weight and token trained on, context included.
    """
    alive = trajectory.mask.any(-1)
    is_expert = isinstance(algorithm.actor, Expert)
    count = len(alive)
    is_new = jnp.ones(count, bool)
    if is_expert and algorithm.actor.num_demos:
        is_new = drawn + jnp.arange(count) < algorithm.actor.num_demos
    turns = jnp.where(is_new[:, None, None], alive, False).sum()
    labels = jnp.where(is_new[:, None, None, None], trajectory.label_mask, False).sum()
    played = spec.prompt_length * count + (alive.sum() + more["env_steps"]) * (
        spec.observation_length + spec.action_length
    )
    passes = algorithm.values.learned + algorithm.reads_reference + rereads
    trained = batch.token.size * (6 * algorithm.epochs + 2 * passes)
    size, nothing = sum(x.size for x in jax.tree.leaves(weights.learner)), jnp.int32(0)
    return {
        "env_steps": turns + more["env_steps"],
        "generated_tokens": nothing
        if is_expert
        else trajectory.mask.sum() + more["generated_tokens"],
        "trained_tokens": batch.mask.sum() * algorithm.epochs,
        "expert_labels": labels
        if is_expert or algorithm.labels == "expert" or algorithm.reward.reads_labels
        else nothing,
        "flops": size * (trained + (0.0 if is_expert else 2.0) * played),
    }
