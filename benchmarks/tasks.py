"""Measures how fast the tasks are: `python benchmarks/tasks.py` prints the table of README.md.

It counts environment steps per second in a batch of 4096 episodes: of the task alone (`reset` and
`step` with uniformly random actions); in a rollout, which also asks for the expert's label, the
anchor and the key decisions; and, if asked, in a rollout of a small policy. Two environments of
gymnax, whose steps reset by themselves, run in the same process for comparison. Times are medians
of `--repeats` calls.
"""

import argparse
import os
import time

import jax
import jax.numpy as jnp
import numpy as np

from agentic_rl import envs
from agentic_rl.config import named
from agentic_rl.policy import transformer
from agentic_rl.policy.sampler import Sampler
from agentic_rl.policy.transformer import Policy
from agentic_rl.rollout.actors import Random
from agentic_rl.rollout.rollout import rollout

BATCH, TURNS = 4096, 32
SMALL = Policy(width=64, layers=2, heads=4, mlp=256)
GYMNAX = ("CartPole-v1", "UmbrellaChain-bsuite")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument(
        "--tasks",
        nargs="*",
        default=sorted(named(envs)),
        choices=sorted(named(envs)),
        metavar="TASK",
    )
    parser.add_argument(
        "--policy",
        action="store_true",
        help="also measure rollouts of a small policy (slow on a CPU)",
    )
    arguments = parser.parse_args()
    baselines = {name: rate(gymnax(name), arguments.repeats)[0] for name in GYMNAX}
    machine = f"{os.cpu_count()} cores, {jax.devices()[0].device_kind}"
    print(f"{machine}, jax {jax.__version__}, {time.strftime('%Y-%m-%d')}; batch {BATCH}")
    rates = ", ".join(f"{name} {x:,.0f}" for name, x in baselines.items())
    print(f"steps/s of gymnax: {rates}\n")
    for i, name in enumerate(arguments.tasks):
        record = measure(name, baselines, arguments.repeats, arguments.policy)
        lines = [list(record), ["---"] * len(record)] * (i == 0) + [list(record.values())]
        print("\n".join("| " + " | ".join(line) + " |" for line in lines), flush=True)


def measure(
    name: str, baselines: dict[str, float], repeats: int, with_policy: bool
) -> dict[str, str]:
    """Returns a task's line of the table."""
    task = named(envs)[name]()
    alone, compiled = rate(steps(task), repeats)
    record = {"task": name, "steps/s": f"{alone:,.0f}", "compiling s": f"{compiled:.1f}"}
    for baseline, x in baselines.items():
        record[f"/ {baseline.split('-')[0]}"] = f"{alone / x:.2f}"
    actors = {"rollout": Random()}
    if with_policy:
        actors["small policy"] = Sampler(SMALL, transformer.init(SMALL, jax.random.key(0)))
    for name, actor in actors.items():
        record[name] = f"{rate(episodes(task, actor), repeats)[0]:,.0f}"
    return record


def rate(play, repeats: int) -> tuple[float, float]:
    """Returns the steps per second of `play(key) -> (number of steps, results)`.

    The second number is the time of its first call, in seconds.
    """
    start = time.perf_counter()
    count = int(play(jax.random.key(0))[0])
    first, times = time.perf_counter() - start, []
    for _ in range(repeats):
        start = time.perf_counter()
        jax.block_until_ready(play(jax.random.key(0)))
        times.append(time.perf_counter() - start)
    return count / float(np.median(times)), first


def steps(task):
    """Returns a function that plays a batch of random episodes with `reset` and `step` alone."""
    choices, spec = jnp.array(task.spec.choices), task.spec

    @jax.jit
    def play(key):
        def turn(state, key):
            action = jax.random.choice(key, choices, (BATCH, spec.action_length))
            state, step = jax.vmap(task.step)(jax.random.split(key, BATCH), state, action)
            return state, (step.observation.sum(), step.reward.sum())

        state, _ = jax.vmap(task.reset)(jax.random.split(key, BATCH))
        _, seen = jax.lax.scan(turn, state, jax.random.split(key, spec.num_turns))
        return BATCH * spec.num_turns, seen  # what is not returned would not be computed

    return play


def episodes(task, actor):
    """Returns a function that rolls out a batch of episodes."""

    def play(key):
        trajectory = rollout(task, actor, key, jnp.arange(BATCH))
        return trajectory.mask.any(-1).sum(), trajectory

    return jax.jit(play)


def gymnax(name: str):
    """Returns the same as `steps` for an environment of gymnax, over TURNS steps."""
    import gymnax

    env, params = gymnax.make(name)

    @jax.jit
    def play(key):
        def turn(state, key):
            keys = jax.random.split(key, BATCH)
            action = jax.random.randint(key, (BATCH,), 0, env.action_space(params).n)
            observation, state, reward, *_ = jax.vmap(env.step, in_axes=(0, 0, 0, None))(
                keys, state, action, params
            )
            return state, (observation.sum(), reward.sum())

        _, state = jax.vmap(env.reset, in_axes=(0, None))(jax.random.split(key, BATCH), params)
        _, seen = jax.lax.scan(turn, state, jax.random.split(key, TURNS))
        return BATCH * TURNS, seen

    return play


if __name__ == "__main__":
    main()
