"""How fast exact values are: `python benchmarks/exact.py` prints a table, as it stands in benchmarks/README.md.

All values of one problem of key_door with three keys and a delay of 797 cells: 125 states (the keys in hand) at each of 801 turns, read by
an untrained policy of 135,553 weights behind the prompt's cache. Each chunk in a process of its own, with no compiled programs from before.
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
SIZE = Policy(context="markov")
CHUNKS = (64, 256, 1024, 4096)  # states that are read at a time


def main() -> None:
    if len(sys.argv) > 1:
        print(json.dumps(measure(int(sys.argv[1]))))
        return
    print(
        "| states at a time | seconds | with compiling | states/s | peak memory MB |\n| --- | --- | --- | --- | --- |"
    )
    for chunk in CHUNKS:
        found = json.loads(
            subprocess.run(
                [sys.executable, __file__, str(chunk)],
                check=True,
                stdout=subprocess.PIPE,
                text=True,
            ).stdout
        )
        rate = STATES * TASK.spec.num_turns / found["seconds"]
        print(
            f"| {chunk} | {found['seconds']:.1f} | {found['first']:.1f} | {rate:,.0f} | {found['memory']:,.0f} |",
            flush=True,
        )


def measure(chunk: int) -> dict[str, float]:
    """Seconds of the first and the second call, and the process's peak memory."""
    params, key = transformer.init(SIZE, jax.random.key(0)), jax.random.key(1)
    made = jax.jit(
        lambda: rollout(TASK, Sampler(SIZE, params), key, jnp.arange(1), 2, keep_states=True)
    )()
    jax.block_until_ready(made)
    took = []
    for _ in range(2):
        start = time.perf_counter()
        jax.block_until_ready(true_advantage(TASK, SIZE, params, made, STATES, chunk).value)
        took.append(time.perf_counter() - start)
    return {
        "first": took[0],
        "seconds": took[1],
        "memory": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    }


if __name__ == "__main__":
    main()
