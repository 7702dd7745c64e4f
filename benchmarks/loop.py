"""How fast the loop is: `python benchmarks/loop.py` prints a table, as it stands in benchmarks/README.md.

One GRPO update on sort_digits: 32 problems x 8 attempts, 16 answer tokens behind 8 tokens of prompt and observation, END ignored,
one gradient step. The bound is what the matrix products alone would take at this machine's best speed: 2 FLOPs per weight and
token read or written in the rollout, 6 per weight and token trained on, over the best float32 matrix product measured in the same
process. Each size runs in a process of its own, with no compiled programs from before; times are medians, ratios within a process.
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

from agentic_rl import algorithms, parallel
from agentic_rl.envs.sort_digits import SortDigits  # noqa: E402
from agentic_rl.policy import transformer
from agentic_rl.policy.transformer import Policy  # noqa: E402
from agentic_rl.training import experience, learner
from agentic_rl.training.run import Run  # noqa: E402

SIZES = {
    "base": Policy(width=128, layers=4, heads=4, mlp=512),
    "small": Policy(width=64, layers=2, heads=4, mlp=256),
}
TASK = SortDigits(num_digits=6, answer_length=16, end=False)
ROW = replace(algorithms.GRPO, minibatches=1)
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
    from experiments.reports.report import (
        markdown,
    )  # not above: the processes that are measured need no figures

    print(f"{os.cpu_count()} cores, jax {jax.__version__}, {time.strftime('%Y-%m-%d')}\n")
    print(
        markdown(
            [
                {"size": size}
                | in_fresh_process("--size", size, "--repeats", str(arguments.repeats))
                for size in SIZES
            ]
        )
    )


def in_fresh_process(*flags: str):
    """What this script prints with `flags`, from a process without compiled programs."""
    environment = {k: v for k, v in os.environ.items() if k != "JAX_COMPILATION_CACHE_DIR"}
    ended = subprocess.run(
        [sys.executable, __file__, *flags], env=environment, stdout=subprocess.PIPE, check=True
    )
    return json.loads(ended.stdout)


def median_seconds(f, repeats: int) -> float:
    """The median time of a call, the first two not counted."""
    times = []
    for _ in range(repeats + 2):
        start = time.perf_counter()
        jax.block_until_ready(f())
        times.append(time.perf_counter() - start)
    return float(np.median(times[2:]))


def matmul_flops(devices) -> float:
    """The best float32 matrix product, in FLOP/s: on one device alone, and on all at once."""
    best = 0.0
    for n in (256, 512, 1024, 2048):
        x = jnp.ones((n, n))
        for f, count in (
            (jax.jit(lambda x: x @ x), 1),
            (parallel.launch(lambda x: x @ x, devices, "shard_map"), len(devices)),
        ):
            times = []
            for _ in range(20):
                start = time.perf_counter()
                jax.block_until_ready(f(x))
                times.append(time.perf_counter() - start)
            best = max(best, 2 * n**3 * count / min(times))
    return best


def measure_loop(policy_config: Policy, repeats: int) -> dict:
    """Seconds per update, its parts, and their ratio to the bound."""
    devices, spec = parallel.choose(0), TASK.spec
    setup = learner.setup(policy_config, ROW, 100, Run(TASK, ROW).micro_batch)

    def run(task, row, seed, state):
        return jax.lax.scan(
            lambda s, _: learner.update(setup, task, row, jax.random.key(seed), s),
            state,
            None,
            length=CHUNK,
        )

    def play(task, row, seed, state):
        def once(carry, step):
            problem = parallel.my_part(step * row.problems + jnp.arange(row.problems))
            weights = experience.Weights(state.params, state.params, None)
            played, _ = experience.collect(
                task, policy_config, row, weights, jax.random.key(seed), problem, row.problems
            )
            return carry + played.reward.sum(), None

        return parallel.total(jax.lax.scan(once, 0.0, jnp.arange(CHUNK))[0])

    state = parallel.place(
        jax.jit(lambda: learner.init(ROW, transformer.init(policy_config, jax.random.key(0))))(),
        devices,
    )
    program = partial(parallel.launch(run, devices, "pmap"), TASK, ROW, 0)
    program(state)
    first = time.time() - START  # the first update of the first chunk, and the others
    update = median_seconds(lambda: program(state), repeats) / CHUNK
    playing = (
        median_seconds(
            partial(parallel.launch(play, devices, "pmap"), TASK, ROW, 0, state), repeats
        )
        / CHUNK
    )
    episodes, weights = ROW.problems * ROW.attempts, transformer.num_params(policy_config)
    read = (
        ROW.problems * (spec.prompt_length + spec.observation_length)
        + episodes * spec.action_length
    )
    trained = episodes * spec.context_length
    flops = matmul_flops(devices)
    bound = weights * (2 * read + 6 * trained) / flops
    return {
        "parameters": f"{weights:,}", "s/update": f"{update:.3f}", "rollout": f"{playing:.3f}", "update": f"{update - playing:.3f}",
        "trained tokens/s": f"{trained / update:,.0f}", "matmul GFLOP/s": f"{flops / 1e9:.0f}", "bound s": f"{bound:.3f}",
        "ratio": f"{update / bound:.2f}", "first update, s from start": f"{first - (CHUNK - 1) * update:.1f}",
        "peak memory MB": f"{resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:,.0f}",
    }  # fmt: skip


if __name__ == "__main__":
    main()
