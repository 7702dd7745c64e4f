"""What the policy would write next in every state of a graph: its logits after each prefix."""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from agentic_rl.exact.actions import Actions
from agentic_rl.exact.state_graph import Graph
from agentic_rl.policy import transformer
from agentic_rl.policy.sampler import Sampler, prefill
from agentic_rl.policy.transformer import Policy
from agentic_rl.types import Environment, Spec


def read_states(
    task: Environment,
    policy_config: Policy,
    params: transformer.Params,
    actions: Actions,
    prompt: Int[Array, "N P"],
    graph: Graph,
    chunk: int,
) -> Float[Array, "N T C S V"]:
    """Returns the logits of the next token after each prefix of an action in each state.

    `chunk` states are read at a time, which bounds the memory.
    """
    read = _read_markov if policy_config.context == "markov" else _read_history
    return read(task, policy_config, params, actions, prompt, graph, chunk)


def _read_markov(
    task, policy_config: Policy, params, actions: Actions, prompt, graph: Graph, chunk: int
) -> Float[Array, "N T C S V"]:
    """Reads each state after the prompt's cache: the observation, then the tokens so far."""
    spec = task.spec
    longest = actions.prefix[actions.length == spec.action_length - 1][:, : spec.action_length - 1]
    carrier, end = _carriers(actions, longest)
    cache = prefill(Sampler(policy_config, params), spec, prompt)

    @jax.checkpoint
    def one(item):
        n, observation = item
        begin = jnp.concatenate([prompt[n, -1:], observation])
        begin = jnp.broadcast_to(begin, (len(longest), len(begin)))
        token = jnp.concatenate([begin, longest], axis=1)
        own = jax.tree.map(lambda x: jnp.broadcast_to(x[n], (len(longest), *x.shape[1:])), cache)
        logits = transformer.logits_after(
            policy_config, params, own, token, spec.prompt_length - 1, spec.action_length
        )
        return logits[carrier, end]

    shape = graph.identity.shape[:-1]
    problem = jnp.broadcast_to(jnp.arange(shape[0])[:, None, None], shape)
    items = problem.ravel(), graph.states.observation.reshape(-1, spec.observation_length)
    return jax.lax.map(one, items, batch_size=chunk).reshape(*shape, *actions.child.shape)


def _carriers(
    actions: Actions, longest: Int[np.ndarray, "Q _"]
) -> tuple[Int[Array, " S"], Int[Array, " S"]]:
    """Returns, for each prefix, a longest one that begins with it, and where in it it ends."""
    carrier = [
        (longest[:, :length] == prefix[:length]).all(1).argmax()
        for prefix, length in zip(actions.prefix, actions.length)
    ]
    return jnp.array(carrier), jnp.asarray(actions.length)


def _read_history(
    task, policy_config: Policy, params, actions: Actions, prompt, graph: Graph, chunk: int
) -> Float[Array, "N T C 1 V"]:
    """Reads the whole transcript that led to each state."""
    spec, shape = task.spec, graph.identity.shape[:-1]
    written = jax.vmap(lambda g: _transcripts(spec, actions, g))(graph)
    problem, turn, _ = jnp.indices(shape)

    @jax.checkpoint
    def one(item):
        n, t, after = item
        token = jnp.concatenate([prompt[n], after])[None]
        return transformer.apply(policy_config, params, spec, token, token >= 0)[0][0, t]

    items = problem.ravel(), turn.ravel(), written.reshape(-1, written.shape[-1])
    return jax.lax.map(one, items, batch_size=chunk).reshape(*shape, *actions.child.shape)


def _transcripts(spec: Spec, actions: Actions, graph: Graph) -> Int[Array, "T C L"]:
    """Returns what stands after the prompt in each state of a problem, up to its observation."""
    length = spec.observation_length

    def turn(before, now):
        t, states = now
        action = jnp.asarray(actions.token)[states.via]
        token = before[states.origin].at[:, t - 1, length:].set(action)
        token = token.at[:, t, :length].set(states.observation)
        return token, token

    turns, count = graph.identity.shape[:-1]
    blank = jnp.zeros((count, turns, length + spec.action_length), jnp.int32)
    written = jax.lax.scan(turn, blank, (jnp.arange(turns), graph.states))[1]
    return written.reshape(turns, count, -1)
