"""Play episodes on the device: `rollout` for the policy with its key-value cache, and for actors without a network.

Every random number is derived by `fold_in` from the run's key, a problem's id, the attempt, the turn and the token, so that an
episode does not depend on the batch it is played in. The turn loop ends when every episode has.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray

from agentic_rl import acting, layout, policy, problems, tokens
from agentic_rl.policy import Policy
from agentic_rl.types import Environment, Spec, State, TimeStep, Trajectory

PROBLEM, ATTEMPT = range(2)  # streams of random numbers


class Sampler(NamedTuple):
    """How the policy turns logits into actions: its weights and a temperature (1: as trained, 0: greedy)."""

    policy: Policy
    params: policy.Params
    temperature: Float[Array, ""] | float = 1.0


class _Progress(NamedTuple):
    """What the turn loop carries; arrays are batched over B = N·G, `record`'s over [T, B]."""

    turn: Int[Array, ""]
    state: State
    step: TimeStep
    before: Int[Array, " B"]  # the last token so far
    cache: Any
    record: Trajectory


def rollout(
    task: Environment,
    actor: Sampler | acting.Expert | acting.Random,
    key: PRNGKeyArray,
    problem_id: Int[Array, " N"],
    attempts: int = 1,
    split: problems.Split = "train",
    axis_name: tuple[str, ...] | str = (),
) -> Trajectory:
    """`attempts` episodes at each problem. All attempts share the problem's instance; transitions and choices are their own.

    Args: axis_name: a vmapped axis over whose members the turn loop ends together (else XLA would copy the cache every turn).
    """
    spec, count = task.spec, problem_id.shape[0]
    problem_key = _fold(jax.random.fold_in(key, PROBLEM), problem_id)
    state, step = jax.vmap(lambda k: problems.draw(task, split, k))(problem_key)
    prompt = jax.vmap(task.prompt)(state)
    attempt_key = _fold(jax.random.fold_in(key, ATTEMPT), problem_id)
    attempt_key = jax.vmap(lambda k: jax.vmap(lambda g: jax.random.fold_in(k, g))(jnp.arange(attempts)))(attempt_key).ravel()

    def repeat(tree):
        return jax.tree.map(lambda x: jnp.repeat(x, attempts, axis=0), tree)

    cache = repeat(_prefill(actor, spec, prompt)) if isinstance(actor, Sampler) else ()
    state, step, prompt = repeat((state, step, prompt))

    def alive(progress):
        return (progress.turn < spec.num_turns) & jax.lax.pmax(jnp.any(~progress.step.done), axis_name)

    def turn(progress):
        keys = _fold(attempt_key, progress.turn)
        action, log_prob, cache = _act(task, actor, keys, prompt, progress)
        return _advance(task, keys, progress._replace(cache=cache), action, log_prob)

    start = _Progress(jnp.int32(0), state, step, prompt[:, -1], cache, _blank(spec, count * attempts))
    end = jax.lax.while_loop(alive, turn, start)
    record = jax.tree.map(lambda x: jnp.moveaxis(x, 0, 1), end.record)
    record = record._replace(prompt=prompt, success=end.step.success & end.step.done)
    return jax.tree.map(lambda x: x.reshape((count, attempts) + x.shape[1:]), record)


def _fold(key, data):
    """`fold_in` for a batch of keys or of data."""
    axes = (0 if key.ndim else None, 0 if jnp.ndim(data) else None)
    return jax.vmap(jax.random.fold_in, axes)(key, data)


def _blank(spec: Spec, batch: int) -> Trajectory:
    """The record of nothing: every token PAD, every mask False."""
    lead = (spec.num_turns, batch)
    token, one, each = jnp.zeros(lead + (spec.action_length,), jnp.int32), jnp.zeros(lead), jnp.zeros(lead + (spec.action_length,))
    return Trajectory(
        prompt=(), observation=jnp.zeros(lead + (spec.observation_length,), jnp.int32), action=token, mask=token > 0,
        log_prob=each, reference_log_prob=each, label=token, label_mask=token > 0, reward=one, success=(),
        anchor=jnp.zeros(lead, jnp.int32), is_key=one > 0,
    )  # fmt: skip


def _until_end(spec: Spec, action: Int[Array, "B A"]):
    """True up to and including the first END."""
    ends = action == spec.end
    return jnp.cumsum(ends, axis=-1) - ends == 0


def _unless(done: Bool[Array, " B"], new, old):
    """`old` where an episode is done, `new` elsewhere."""
    return jax.tree.map(lambda x, y: jnp.where(done.reshape((-1,) + (1,) * (x.ndim - 1)), y, x), new, old)


def _advance(task, keys, progress: _Progress, action, log_prob) -> _Progress:
    """The task's answer to `action`, and the turn written into the record. What is done stays as it is."""
    spec, t, done = task.spec, progress.turn, progress.step.done
    mask = _until_end(spec, action) & ~done[:, None]
    action = jnp.where(mask, action, tokens.PAD)
    label = jax.vmap(task.expert)(progress.state)
    label_mask = _until_end(spec, label)
    after = jax.vmap(task.step)(_fold(keys, spec.action_length), progress.state, action)
    state, step = _unless(done, after, (progress.state, progress.step))
    written = Trajectory(
        prompt=(), observation=progress.step.observation, action=action, mask=mask, log_prob=log_prob * mask,
        reference_log_prob=jnp.zeros_like(log_prob), label=jnp.where(label_mask, label, tokens.PAD), label_mask=label_mask,
        reward=step.reward, success=(), anchor=jax.vmap(task.anchor)(progress.state), is_key=jax.vmap(task.is_key)(progress.state),
    )  # fmt: skip
    written = _unless(done, written, jax.tree.map(jnp.zeros_like, written))  # as if the loop had ended: others may play on
    record = jax.tree.map(lambda all_, new: all_.at[t].set(new), progress.record, written)
    cache = progress.cache
    if cache and cache.valid.shape[1] == spec.context_length:
        place = layout.start_of_turn(spec, t) + spec.observation_length
        cache = cache._replace(valid=jax.lax.dynamic_update_slice(cache.valid, mask, (0, place)))
    return _Progress(t + 1, state, step, action[:, -1], cache, record)


def _prefill(sampler: Sampler, spec: Spec, prompt: Int[Array, "N P"]) -> policy.Cache:
    """The cache behind all of the prompt but its last token, which is read with the first observation."""
    cache = policy.empty_cache(sampler.policy, sampler.params, spec, len(prompt))
    if spec.prompt_length == 1:
        return cache
    return policy.decode(sampler.policy, sampler.params, cache, prompt[:, :-1], 0)[-1]


def _act(task, actor, keys, prompt, progress: _Progress):
    """An action for every episode, the log-probability of each of its tokens, and the cache."""
    spec = task.spec
    if not isinstance(actor, Sampler):
        action = jax.vmap(lambda k, s: actor.act(task, k, s))(_fold(keys, 0), progress.state)
        return action, jnp.zeros(action.shape), progress.cache
    markov = actor.policy.context == "markov"
    index = layout.start_of_turn(spec, 0 if markov else progress.turn)
    before = prompt[:, -1] if markov else progress.before
    chunk = jnp.concatenate([before[:, None], progress.step.observation], axis=1)
    logits, _, cache = policy.decode(actor.policy, actor.params, progress.cache, chunk, index - 1)
    token, log_prob = _sample(_fold(keys, 0), logits, actor.temperature)

    def next_token(carry, a):
        token, cache = carry
        logits, _, cache = policy.decode(actor.policy, actor.params, cache, token[:, None], index + spec.observation_length + a - 1)
        token, log_prob = _sample(_fold(keys, a), logits, actor.temperature)
        return (token, cache), (token, log_prob)

    (_, cache), rest = jax.lax.scan(next_token, (token, cache), jnp.arange(1, spec.action_length))
    action, log_prob = (jnp.concatenate([x[None], xs]).T for x, xs in zip((token, log_prob), rest))
    return action, log_prob, cache


def _sample(keys, logits: Float[Array, "B V"], temperature):
    """A token from softmax(logits / temperature), and its log-probability at temperature 1."""
    noise = jax.vmap(lambda k: jax.random.gumbel(k, logits.shape[-1:], logits.dtype))(keys)
    token = jnp.argmax(logits + temperature * noise, axis=-1).astype(jnp.int32)
    log_prob = jnp.take_along_axis(jax.nn.log_softmax(logits), token[:, None], axis=-1)[:, 0]
    return token, log_prob


def episode_text(task: Environment, trajectory: Trajectory, problem: int = 0, attempt: int = 0) -> str:
    """One episode as people read it: the prompt, a line per turn (where it differs, with the expert's action), the outcome."""
    one = jax.tree.map(lambda x: jax.device_get(x)[problem, attempt], trajectory)
    turns = [_turn_text(task, *turn) for *turn, m in zip(one.observation, one.action, one.label, one.mask) if m.any()]
    outcome = f"{'success' if one.success else 'failure'}, return {round(float(one.reward.sum()), 3)}"
    return "\n".join([task.render_prompt(one.prompt), *turns, outcome])


def _turn_text(task: Environment, observation, action, label) -> str:
    shown, expert = (task.render_turn(observation, a) for a in (action, label))
    return shown if (action == label).all() else f"{shown}   (expert: {expert.rpartition('-> ')[2]})"


def transcript(task: Environment, problem: int = 0, seed: int = 0) -> str:
    """How the expert plays problem number `problem`, as text."""
    episode = rollout(task, acting.Expert(), jax.random.key(seed), jnp.array([problem]))
    return episode_text(task, episode)
