"""Measures how fast exact values are: `python benchmarks/exact.py` prints the table of README.md.

It computes all values of one problem of key_door with three keys and a delay of 797 cells: 125
states (the keys in hand) at each of 801 turns, read by an untrained policy of 135,553 weights. Each
chunk size runs in a process of its own, without compiled programs from before.
"""

import json
import resource
import subprocess
import sys
import time

import jax
import jax.numpy as jnp

from agentic_rl.envs.key_door import KeyDoor
from agentic_rl.exact.true_advantage import true_advantage
from agentic_rl.policy import transformer
from agentic_rl.policy.sampler import Sampler
from agentic_rl.policy.transformer import Policy
from agentic_rl.rollout.rollout import rollout

TASK, STATES = KeyDoor(num_keys=3, delay=797), 125
POLICY_CONFIG = Policy(context="markov")
CHUNKS = (64, 256, 1024, 4096)  # states that are read at a time


def main() -> None:
    if len(sys.argv) > 1:
        print(json.dumps(measure(int(sys.argv[1]))))
        return
    print("| states at a time | seconds | with compiling | states/s | peak memory MB |")
    print("| --- | --- | --- | --- | --- |")
    for chunk in CHUNKS:
        result = measure_in_fresh_process(chunk)
        rate = STATES * TASK.spec.num_turns / result["seconds"]
        seconds = f"{result['seconds']:.1f} | {result['first']:.1f}"
        print(f"| {chunk} | {seconds} | {rate:,.0f} | {result['memory']:,.0f} |", flush=True)


def measure_in_fresh_process(chunk: int) -> dict[str, float]:
    """Returns what `measure` returns in a new process."""
    command = [sys.executable, __file__, str(chunk)]
    ended = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    return json.loads(ended.stdout)


def measure(chunk: int) -> dict[str, float]:
    """Returns the seconds of the first and second call, and the process's peak memory in MB."""
    params = transformer.init(POLICY_CONFIG, jax.random.key(0))

    @jax.jit
    def play():
        actor, key = Sampler(POLICY_CONFIG, params), jax.random.key(1)
        return rollout(TASK, actor, key, jnp.arange(1), 2, keep_states=True)

    trajectory = jax.block_until_ready(play())
    seconds = []
    for _ in range(2):
        start = time.perf_counter()
        truth = true_advantage(TASK, POLICY_CONFIG, params, trajectory, STATES, chunk)
        jax.block_until_ready(truth.value)
        seconds.append(time.perf_counter() - start)
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return {"first": seconds[0], "seconds": seconds[1], "memory": memory}


if __name__ == "__main__":
    main()
