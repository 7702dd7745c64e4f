"""Episodes as text for people to read."""

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
    """Returns one episode as text: the prompt, a line per turn, and the outcome.

    Where the expert's action would have been another, the line names it.
    """
    one = jax.tree.map(lambda x: jax.device_get(x)[problem, attempt], trajectory)
    lines = [task.render_prompt(one.prompt)]
    for t in range(len(one.mask)):
        if one.mask[t].any():
            lines.append(_turn_text(task, one.observation[t], one.action[t], one.label[t]))
    verdict = "success" if one.success else "failure"
    lines.append(f"{verdict}, return {round(float(one.reward.sum()), 3)}")
    return "\n".join(lines)


def _turn_text(task: Environment, observation, action, label) -> str:
    text = task.render_turn(observation, action)
    if (action == label).all():
        return text
    expert = task.render_turn(observation, label).rpartition("-> ")[2]
    return f"{text}   (expert: {expert})"


def transcript(task: Environment, problem: int = 0, seed: int = 0) -> str:
    """Returns the expert's episode at the training problem of that number, as text."""
    episode = rollout(task, actors.Expert(), jax.random.key(seed), jnp.array([problem]))
    return episode_text(task, episode)


def episodes(
    task: Environment | dict,
    actor: Sampler | actors.Expert | actors.Random,
    seed: int,
    count: int = 3,
) -> list[str]:
    """Returns the actor's episodes at the first `count` test problems of the seed, as text.

    Of a mixture it plays so many of each task.
    """
    key, texts = jax.random.key(seed), []
    config, rest = (actor.policy_config, actor[1:]) if isinstance(actor, Sampler) else (None, actor)
    for part in parts(task).values():
        trajectory = _play(part, config, rest, key, count)
        texts += [episode_text(part, trajectory, n) for n in range(count)]
    return texts


@partial(jax.jit, static_argnames=("policy_config", "count"))
def _play(task: Environment, policy_config: Policy | None, rest, key, count: int) -> Trajectory:
    """Returns episodes at test problems.

    `rest` is the policy's weights and temperature, so that one program serves all weights; or it
    is an actor, and then there is no policy.
    """
    actor = Sampler(policy_config, *rest) if policy_config else rest
    return rollout(task, actor, key, jnp.arange(count), split="test")
