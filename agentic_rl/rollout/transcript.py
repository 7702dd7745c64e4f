"""Episodes as people read them."""

from functools import partial

import jax
import jax.numpy as jnp

from agentic_rl.policy.sampler import Sampler
from agentic_rl.policy.transformer import Policy
from agentic_rl.rollout import actors
from agentic_rl.rollout.rollout import rollout
from agentic_rl.types import Environment, Trajectory, parts


def episode_text(
    task: Environment, trajectory: Trajectory, problem: int = 0, attempt: int = 0
) -> str:
    """One episode: the prompt, a line per turn (where it differs, with the expert's action), the outcome."""
    one = jax.tree.map(lambda x: jax.device_get(x)[problem, attempt], trajectory)
    turns = [
        _turn_text(task, *turn)
        for *turn, m in zip(one.observation, one.action, one.label, one.mask)
        if m.any()
    ]
    outcome = (
        f"{'success' if one.success else 'failure'}, return {round(float(one.reward.sum()), 3)}"
    )
    return "\n".join([task.render_prompt(one.prompt), *turns, outcome])


def _turn_text(task: Environment, observation, action, label) -> str:
    shown, expert = (task.render_turn(observation, a) for a in (action, label))
    return (
        shown if (action == label).all() else f"{shown}   (expert: {expert.rpartition('-> ')[2]})"
    )


def transcript(task: Environment, problem: int = 0, seed: int = 0) -> str:
    """How the expert plays problem number `problem`."""
    episode = rollout(task, actors.Expert(), jax.random.key(seed), jnp.array([problem]))
    return episode_text(task, episode)


def episodes(
    task: Environment | dict,
    actor: Sampler | actors.Expert | actors.Random,
    seed: int,
    count: int = 3,
) -> list[str]:
    """Returns the actor's episodes at the first `count` test problems of the seed, as text; of a mixture so many of each task."""
    key, texts = jax.random.key(seed), []
    policy_config, rest = (
        (actor.policy_config, actor[1:]) if isinstance(actor, Sampler) else (None, actor)
    )
    for part in parts(task).values():
        trajectory = _play(part, policy_config, rest, key, count)
        texts += [episode_text(part, trajectory, n) for n in range(count)]
    return texts


@partial(jax.jit, static_argnames=("policy_config", "count"))
def _play(task: Environment, policy_config: Policy | None, rest, key, count: int) -> Trajectory:
    """Returns episodes at test problems. `rest`: the policy's weights and temperature, so that it is compiled once for all, or an actor."""
    actor = Sampler(policy_config, *rest) if policy_config else rest
    return rollout(task, actor, key, jnp.arange(count), split="test")
