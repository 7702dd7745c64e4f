"""Measures how fast training is: `python benchmarks/loop.py` prints the tables of README.md.

A case is an algorithm on a task at default sizes. Its update has three parts: the rollout, the
credit (with the values and the metrics), and training. Each is compared with its bound, which is
the time that its matrix products alone would take at this machine's best speed. They are 2 FLOPs
per weight and token that the policy reads or writes, and 6 per weight and token that is trained on,
without attention; the best speed is that of the fastest float32 matrix product in the same process.
Each case runs in a process of its own, without compiled programs from before. Times are the least
of several calls, and ratios are within one process.
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
from pathlib import Path
from typing import NamedTuple

START = time.time()

import jax  # noqa: E402
import jax.numpy as jnp  # noqa: E402

from agentic_rl import algorithms, envs, parallel  # noqa: E402
from agentic_rl.config.registry import named  # noqa: E402
from agentic_rl.policy import transformer  # noqa: E402
from agentic_rl.policy.transformer import Policy  # noqa: E402
from agentic_rl.rollout.actors import Expert  # noqa: E402
from agentic_rl.training import experience, learner  # noqa: E402
from agentic_rl.training.programs import Programs  # noqa: E402
from agentic_rl.training.run import Run  # noqa: E402

CHUNK = 4  # updates per call
COMPILING = {
    "/jax/core/compile/jaxpr_trace_duration": "trace s",
    "/jax/core/compile/jaxpr_to_mlir_module_duration": "lower s",
    "/jax/core/compile/backend_compile_duration": "compile s",
}


class Case(NamedTuple):
    """What is measured: an algorithm on a task, with what differs from the defaults."""

    algorithm: str
    task: str
    context: str = "history"
    task_changes: dict = {}  # noqa: RUF012
    policy_changes: dict = {}  # noqa: RUF012
    algorithm_changes: dict = {}  # noqa: RUF012
    seeds: int = 1


TASKS = ("running_sum", "key_door", "todo", "tool_chase")
DEFAULT = [
    Case(algorithm, task, context)
    for task in TASKS
    for context in ("markov", "history")
    for algorithm in ("sft", "grpo", "ppo")
]
# One turn of 16 tokens after 8, END ignored, one gradient step: what peers can be measured on.
_ONE_TURN = dict(
    task_changes=dict(num_digits=6, answer_length=16, end=False),
    algorithm_changes=dict(minibatches=1),
)
_BASE = dict(width=128, layers=4, heads=4, mlp=512)
ONE_TURN = [
    Case("grpo", "sort_digits", **_ONE_TURN),
    Case("grpo", "sort_digits", policy_changes=_BASE, **_ONE_TURN),
]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--case", help="measure this case, as JSON, here, and print JSON")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--only", default="", help="the cases whose name contains this")
    arguments = parser.parse_args()
    if arguments.case:
        case = Case(*json.loads(arguments.case))
        return print(json.dumps(measure(case, arguments.repeats)))
    # imported late, since the processes that are measured need no figures
    from experiments.reports.report import markdown

    print(f"{os.cpu_count()} cores, jax {jax.__version__}, {time.strftime('%Y-%m-%d')}\n")
    chosen = [case for case in ONE_TURN + DEFAULT if arguments.only in describe(case)]
    print(markdown([show(case, in_fresh_process(case, arguments.repeats)) for case in chosen]))


def describe(case: Case) -> str:
    """Returns a case's name."""
    return f"{case.algorithm} {case.task} {case.context}"


def in_fresh_process(case: Case, repeats: int) -> dict:
    """Returns the measurements of a case in a process without compiled programs."""
    environment = {k: v for k, v in os.environ.items() if k != "JAX_COMPILATION_CACHE_DIR"}
    loop = Path(__file__).resolve()
    command = [sys.executable, loop, "--case", json.dumps(case), "--repeats", str(repeats)]
    ended = subprocess.run(command, env=environment, stdout=subprocess.PIPE, check=True)
    return json.loads(ended.stdout)


def show(case: Case, measured: dict) -> dict:
    """Returns a row of the table."""
    row = {"case": describe(case), "parameters": f"{measured['parameters']:,}"}
    row["s/update"] = f"{measured['update']:.3f}"
    for part in ("rollout", "credit", "training"):
        seconds, bound = measured[part], measured[f"{part} bound"]
        ratio = f" ({seconds / bound:.1f} x {bound:.3f})" if bound else ""
        row[f"{part} (ratio x bound)"] = f"{seconds:.3f}{ratio}"
    row |= {name: f"{measured[name]:.1f}" for name in COMPILING.values()}
    row["first update, s from start"] = f"{measured['first']:.1f}"
    return row | {"peak MB": f"{measured['peak']:,.0f}"}


def make_run(case: Case) -> Run:
    """Returns the run of a case."""
    algorithm = replace(algorithms.by_name()[case.algorithm], **case.algorithm_changes)
    task = named(envs)[case.task](**case.task_changes)
    policy = Policy(context=case.context, **case.policy_changes)
    sizes = dict(chunk=CHUNK, updates=CHUNK, eval_every=CHUNK, checkpoint_every=CHUNK)
    return Run(task, algorithm, policy, seeds=case.seeds, **sizes)


def measure(case: Case, repeats: int) -> dict[str, float]:
    """Returns seconds per update, those of its parts, their bounds, and seconds of compiling."""
    parallel.prepare(0)
    run, seconds = make_run(case), dict.fromkeys(COMPILING.values(), 0.0)
    programs = Programs(run)
    state = programs.init(run.algorithm, programs.fresh_params())
    is_on = [True]

    def listen(event, duration, **_):
        if event in COMPILING and is_on:
            seconds[COMPILING[event]] += duration

    jax.monitoring.register_event_duration_secs_listener(listen)
    update = programs.chunk(run.algorithm, run.updates)
    state, _ = update(state)
    first = time.time() - START
    is_on.clear()
    update_seconds, state = time_updates(update, state, repeats)
    first -= (CHUNK - 1) * update_seconds  # the first call made four updates
    parts = {"update": update_seconds} | time_parts(run, programs, state, repeats)
    parts["training"] = parts["update"] - parts.pop("experience")
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    sizes = {"parameters": transformer.num_params(run.policy), "first": first, "peak": memory}
    return sizes | seconds | parts | bounds(run, matmul_flops(programs.devices))


def time_updates(update, state, repeats: int) -> tuple[float, learner.State]:
    """Returns the least seconds of an update, and the state after all of them."""
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        state, _ = update(state)
        times.append(time.perf_counter() - start)
    return min(times) / CHUNK, state


def time_parts(run: Run, programs: Programs, state, repeats: int) -> dict[str, float]:
    """Returns the seconds of the rollout, of the credit, and of both ("experience")."""
    one = jax.tree.map(lambda x: x[0], state)
    one = parallel.place(jax.device_get(one), programs.devices)
    seconds = {}
    for name, part in (("rollout", play), ("experience", gather)):
        repeated = partial(repeat, partial(part, run))
        program = parallel.launch(repeated, programs.devices, run.launcher)
        call = partial(program, run.algorithm, one)
        seconds[name] = least_seconds(call, repeats) / CHUNK * run.seeds
    return seconds | {"credit": seconds["experience"] - seconds["rollout"]}


def repeat(part, algorithm, state):
    """Returns the sum of CHUNK repetitions of a part of the update."""
    step = lambda total, index: (total + part(algorithm, state, index), None)  # noqa: E731
    return parallel.total(jax.lax.scan(step, 0.0, jnp.arange(CHUNK))[0])


def play(run: Run, algorithm, state, index):
    """Returns a number that needs a rollout."""
    problem = parallel.my_part(index * algorithm.problems + jnp.arange(algorithm.problems))
    trajectory, _ = experience.collect(
        run.task, run.policy, algorithm, weights(state), key(), problem, algorithm.problems
    )
    return trajectory.reward.sum() + trajectory.log_prob.sum()


def gather(run: Run, algorithm, state, index):
    """Returns a number that needs all that comes before training."""
    first, count = index * algorithm.problems, algorithm.problems
    gathered = experience.experience(
        run.task, run.policy, algorithm, weights(state), key(), first, count
    )
    return sum(jnp.asarray(x, float).sum() for x in jax.tree.leaves(gathered))


def weights(state) -> experience.Weights:
    return experience.Weights(state.params, state.params, state.reference)


def key():
    return jax.random.key(0)


def bounds(run: Run, flops: float) -> dict[str, float]:
    """Returns the least seconds of an update's parts at this speed."""
    spec, algorithm = run.task.spec, run.algorithm
    episodes = algorithm.problems * algorithm.attempts
    shared = algorithm.problems * spec.prompt_length
    played = shared + episodes * (spec.context_length - spec.prompt_length)
    read = episodes * spec.context_length
    passes = 2 * (algorithm.values.learned + algorithm.reads_reference)
    work = {
        "rollout bound": 0 if isinstance(algorithm.actor, Expert) else 2 * played,
        "credit bound": passes * read,
        "training bound": 6 * read * algorithm.epochs,
    }
    scale = run.seeds * transformer.num_params(run.policy) / flops
    return {name: x * scale for name, x in work.items()}


def matmul_flops(devices) -> float:
    """Returns the speed of the best float32 matrix product, on one device or on all, in FLOP/s."""
    alone = jax.jit(lambda x: x @ x)
    together = parallel.launch(lambda x: x @ x, devices, "shard_map")
    best = 0.0
    for n in (256, 512, 1024, 2048):
        x = jnp.ones((n, n))
        for product, count in ((alone, 1), (together, len(devices))):
            best = max(best, 2 * n**3 * count / least_seconds(partial(product, x), 20))
    return best


def least_seconds(f, repeats: int) -> float:
    """Returns the least time of a call, after the first."""
    jax.block_until_ready(f())
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        jax.block_until_ready(f())
        times.append(time.perf_counter() - start)
    return min(times)


if __name__ == "__main__":
    main()
