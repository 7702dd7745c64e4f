"""Updates of a tiny policy on a ragged toy task, which the tests of the learner share."""

from dataclasses import replace
from functools import cache

import jax
import jax.numpy as jnp

from agentic_rl import algorithms, parallel
from agentic_rl.losses.kl import ReferenceKL
from agentic_rl.optimizer import Sgd
from agentic_rl.policy.transformer import Policy
from agentic_rl.training import learner
from agentic_rl.training.batch import make_batch
from agentic_rl.training.experience import Weights, collect
from agentic_rl.values import ValueContext
from tests.toys import Ragged, babbler

TASK, POLICY = Ragged(), Policy(width=8, layers=1, heads=2, mlp=8)
SMALL = dict(problems=8, attempts=2, optimizer=Sgd(learning_rate=0.5))
# Everything that looks across episodes: whitened credit, a critic, KL and entropy. The algorithm
# takes several steps on one batch.
PPO = replace(
    algorithms.PPO,
    **SMALL,
    epochs=2,
    minibatches=4,
    kl=ReferenceKL(coefficient=0.1),
    entropy_coefficient=0.01,
)
ONE_STEP = dict(epochs=1, minibatches=1)
PARAMS, OTHERS = babbler(POLICY), babbler(POLICY, seed=7)


@cache
def program(setup, devices, launcher):
    def update(algorithm, state):
        return learner.update(setup, TASK, algorithm, jax.random.key(0), state)

    return parallel.launch(update, parallel.choose(devices), launcher)


def start(algorithm, micro_batch=0):
    """Returns set-up and state before the first update."""
    setup = learner.setup(POLICY, algorithm, 4, micro_batch)
    return setup, learner.init(algorithm, PARAMS)


def update_once(algorithm, devices=1, launcher="pmap", micro_batch=0, **changes):
    """Returns state and metrics after an update of the first state with `changes`."""
    setup, state = start(algorithm, micro_batch)
    state = parallel.place(state._replace(**changes), parallel.choose(devices))
    return jax.device_get(program(setup, devices, launcher)(algorithm, state))


def on_one_device(f, *inputs):
    """Returns `f(*inputs)`, compiled with an axis of one device around it."""
    mapped = jax.jit(
        jax.vmap(lambda _, inputs: f(*inputs), in_axes=(0, None), axis_name=parallel.AXIS)
    )
    return jax.tree.map(lambda x: x[0], mapped(jnp.arange(1), inputs))


@cache
def play(algorithm=PPO):
    """Returns episodes of the first policy, the critic's values, and the batch made of both."""
    problem, key, weights = (
        jnp.arange(algorithm.problems),
        jax.random.key(0),
        Weights(PARAMS, PARAMS, PARAMS),
    )
    trajectory, _ = on_one_device(
        lambda w: collect(TASK, POLICY, algorithm, w, key, problem, len(problem)), weights
    )
    value, _ = algorithm.values(ValueContext(TASK, POLICY, PARAMS, problem, key), trajectory)
    return trajectory, value, make_batch(algorithm, trajectory, value)


WEIGHTS = sum(x.size for x in jax.tree.leaves(PARAMS))
LENGTH = TASK.spec.context_length
