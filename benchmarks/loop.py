"""Measures how fast training is: `python benchmarks/loop.py` prints the table of README.md.

It times one GRPO update on sort_digits: 32 problems x 8 attempts, 16 answer tokens after 8 tokens
of prompt and observation, END ignored, one gradient step.

The bound is the time that the matrix products alone would take at this machine's best speed. They
are 2 FLOPs per weight and token that the rollout reads or writes, and 6 per weight and token that
is trained on; the best speed is that of the fastest float32 matrix product in the same process.
Each size runs in a process of its own, without compiled programs from before. Times are medians,
and ratios are within one process.
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import time
from dataclasses import replace
from functools import partial

START = time.time()

import jax  # noqa: E402
import jax.numpy as jnp  # noqa: E402
import numpy as np  # noqa: E402

from agentic_rl import algorithms, parallel  # noqa: E402
from agentic_rl.envs.sort_digits import SortDigits  # noqa: E402
from agentic_rl.policy import transformer  # noqa: E402
from agentic_rl.policy.transformer import Policy  # noqa: E402
from agentic_rl.training import experience, learner  # noqa: E402
from agentic_rl.training.run import Run  # noqa: E402

SIZES = {
    "base": Policy(width=128, layers=4, heads=4, mlp=512),
    "small": Policy(width=64, layers=2, heads=4, mlp=256),
}
TASK = SortDigits(num_digits=6, answer_length=16, end=False)
ALGORITHM = replace(algorithms.GRPO, minibatches=1)
CHUNK = 4  # updates per call


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--size", choices=SIZES, help="measure one size in this process, and print JSON"
    )
    parser.add_argument("--repeats", type=int, default=7)
    arguments = parser.parse_args()
    parallel.prepare(0)
    if arguments.size:
        return print(json.dumps(measure_loop(SIZES[arguments.size], arguments.repeats)))
    # imported late, since the processes that are measured need no figures
    from experiments.reports.report import markdown

    print(f"{os.cpu_count()} cores, jax {jax.__version__}, {time.strftime('%Y-%m-%d')}\n")
    repeats = ("--repeats", str(arguments.repeats))
    lines = [{"size": size} | run_in_fresh_process("--size", size, *repeats) for size in SIZES]
    print(markdown(lines))


def run_in_fresh_process(*flags: str) -> dict:
    """Returns what this script prints with `flags` in a process without compiled programs."""
    environment = {k: v for k, v in os.environ.items() if k != "JAX_COMPILATION_CACHE_DIR"}
    ended = subprocess.run(
        [sys.executable, __file__, *flags], env=environment, stdout=subprocess.PIPE, check=True
    )
    return json.loads(ended.stdout)


def median_seconds(f, repeats: int) -> float:
    """Returns the median time of a call, without the first two."""
    times = []
    for _ in range(repeats + 2):
        start = time.perf_counter()
        jax.block_until_ready(f())
        times.append(time.perf_counter() - start)
    return float(np.median(times[2:]))


def matmul_flops(devices) -> float:
    """Returns the speed of the best float32 matrix product, on one device or on all, in FLOP/s."""
    alone = jax.jit(lambda x: x @ x)
    together = parallel.launch(lambda x: x @ x, devices, "shard_map")
    best = 0.0
    for n in (256, 512, 1024, 2048):
        x = jnp.ones((n, n))
        for product, count in ((alone, 1), (together, len(devices))):
            best = max(best, 2 * n**3 * count / least_seconds(partial(product, x)))
    return best


def least_seconds(f, repeats: int = 20) -> float:
    """Returns the least time of a call."""
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        jax.block_until_ready(f())
        times.append(time.perf_counter() - start)
    return min(times)


def measure_loop(policy_config: Policy, repeats: int) -> dict:
    """Returns the seconds per update, its parts, and their ratio to the bound, as text."""
    devices = parallel.choose(0)

    @jax.jit
    def init():
        return learner.init(ALGORITHM, transformer.init(policy_config, jax.random.key(0)))

    state = parallel.place(init(), devices)

    update = partial(parallel.launch(updates(policy_config), devices, "pmap"), TASK, ALGORITHM, 0)
    update(state)
    first = time.time() - START  # includes the other updates of the first call
    seconds = median_seconds(lambda: update(state), repeats) / CHUNK

    play = partial(parallel.launch(rollouts(policy_config), devices, "pmap"), TASK, ALGORITHM, 0)
    rollout_seconds = median_seconds(lambda: play(state), repeats) / CHUNK

    num_params, flops = transformer.num_params(policy_config), matmul_flops(devices)
    num_read, num_trained = tokens_per_update()
    bound = num_params * (2 * num_read + 6 * num_trained) / flops
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return {
        "parameters": f"{num_params:,}",
        "s/update": f"{seconds:.3f}",
        "rollout": f"{rollout_seconds:.3f}",
        "update": f"{seconds - rollout_seconds:.3f}",
        "trained tokens/s": f"{num_trained / seconds:,.0f}",
        "matmul GFLOP/s": f"{flops / 1e9:.0f}",
        "bound s": f"{bound:.3f}",
        "ratio": f"{seconds / bound:.2f}",
        "first update, s from start": f"{first - (CHUNK - 1) * seconds:.1f}",
        "peak memory MB": f"{memory:,.0f}",
    }


def tokens_per_update() -> tuple[int, int]:
    """Returns how many tokens an update reads or writes in its rollout, and trains on."""
    spec, episodes = TASK.spec, ALGORITHM.problems * ALGORITHM.attempts
    shared = ALGORITHM.problems * (spec.prompt_length + spec.observation_length)
    return shared + episodes * spec.action_length, episodes * spec.context_length


def updates(policy_config: Policy):
    """Returns a function that makes CHUNK updates."""
    setup = learner.setup(policy_config, ALGORITHM, 100, Run(TASK, ALGORITHM).micro_batch)

    def run(task, algorithm, seed, state):
        def update(state, _):
            return learner.update(setup, task, algorithm, jax.random.key(seed), state)

        return jax.lax.scan(update, state, None, length=CHUNK)

    return run


def rollouts(policy_config: Policy):
    """Returns a function that makes CHUNK rollouts."""

    def run(task, algorithm, seed, state):
        count = algorithm.problems

        def play(carry, step):
            problem = parallel.my_part(step * count + jnp.arange(count))
            weights = experience.Weights(state.params, state.params, None)
            trajectory, _ = experience.collect(
                task, policy_config, algorithm, weights, jax.random.key(seed), problem, count
            )
            return carry + trajectory.reward.sum(), None

        return parallel.total(jax.lax.scan(play, 0.0, jnp.arange(CHUNK))[0])

    return run


if __name__ == "__main__":
    main()
