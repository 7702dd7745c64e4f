"""Test beds of a tiny policy, which several files of tests share."""

from functools import cache

from agentic_rl.envs.key_door import KeyDoor
from agentic_rl.policy.transformer import Policy
from experiments.ground_truth import testbed
from tests.toys import weights

SIZE = Policy(width=16, layers=1, heads=2, mlp=16, context="markov")
TASK = KeyDoor(delay=1)


@cache
def bed(task=TASK, shape=(8, 2, 4), seed=0) -> testbed.Testbed:
    return testbed.make(task, SIZE, weights(SIZE, likely=task.spec.choices), shape, seed)
