"""Updates in which every field of an algorithm should show, for the tests of fields and presets."""

from collections.abc import Callable
from dataclasses import replace
from functools import cache

import jax
import jax.numpy as jnp

from agentic_rl import parallel
from agentic_rl.algorithms import Algorithm
from agentic_rl.policy import transformer
from agentic_rl.policy.transformer import Policy
from agentic_rl.rollout.actors import Expert
from agentic_rl.training import learner
from agentic_rl.values.exact import Exact
from tests.toys import Ragged, babbler

TASK, POLICY = Ragged(), Policy(width=8, layers=1, heads=2, mlp=8)


def adversarial(algorithm: Algorithm) -> Algorithm:
    """Returns the algorithm with a small batch of ragged episodes and very large steps.

    The policy that acted is then soon another one.
    """
    actor = Expert(noise=0.3) if isinstance(algorithm.actor, Expert) else algorithm.actor
    fast = replace(algorithm.optimizer, learning_rate=0.05, warmup=1, max_grad_norm=1e3)
    # Of eight pairs some have equal returns, and are drawn again.
    problems, attempts = (8, 2) if algorithm.selection.max_rounds > 1 else (4, 4)
    sizes = dict(problems=problems, attempts=attempts, epochs=2, minibatches=2)
    return replace(algorithm, actor=actor, optimizer=fast, **sizes)


@cache
def update(setup: learner.Setup) -> Callable:
    """Returns a compiled update on one device, from algorithm and state to weights."""

    def f(_, algorithm, state):
        return learner.update(setup, TASK, algorithm, jax.random.key(0), state)[0].params

    return jax.jit(jax.vmap(f, in_axes=(0, None, None), axis_name=parallel.AXIS))


@cache
def weights_after_update(algorithm: Algorithm) -> transformer.Params:
    """Returns the weights after an update in the middle of a run.

    Algorithms that differ in floats alone share one compiled program.
    """
    is_exact = isinstance(algorithm.values, Exact)
    policy_config = replace(POLICY, context="markov") if is_exact else POLICY
    setup = learner.setup(policy_config, algorithm, total=8, micro_batch=0)
    state = learner.init(algorithm, babbler(POLICY))._replace(step=jnp.int32(3))
    for name in ("actor", "reference"):
        if getattr(state, name):
            other = babbler(POLICY, seed=7)  # differs from the learner's policy
            state = state._replace(**{name: other})
    return update(setup)(jnp.arange(1), algorithm, state)
