"""Several tasks in one run: each keeps its own layout, and they meet in the gradient."""

from dataclasses import replace

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from agentic_rl import algorithms, parallel
from agentic_rl.config import ConfigError, from_json, to_json
from agentic_rl.envs.chain_pit import ChainPit
from agentic_rl.envs.key_door import KeyDoor
from agentic_rl.optimizer import Sgd
from agentic_rl.policy.transformer import Policy
from agentic_rl.training import gradients, learner
from agentic_rl.training.experience import Weights, experience
from agentic_rl.training.programs import Programs
from agentic_rl.training.run import Run
from agentic_rl.training.train import train
from tests.toys import Ragged, babbler

POLICY = Policy(width=8, layers=1, heads=2, mlp=8)
ALGORITHM = replace(
    algorithms.GRPO, problems=8, attempts=2, minibatches=2, optimizer=Sgd(learning_rate=0.5)
)
MIXTURE = {
    "ragged": Ragged(),
    "chain": ChainPit(num_turns=2),
}  # other numbers of turns, other lengths of actions
PARAMS = babbler(POLICY)


def update_once(task, devices=1, algorithm=ALGORITHM):
    setup = learner.setup(POLICY, algorithm, 4, 2)
    state = parallel.place(learner.init(algorithm, PARAMS), parallel.choose(devices))
    f = parallel.launch(
        lambda s: learner.update(setup, task, algorithm, jax.random.key(0), s),
        parallel.choose(devices),
        "pmap",
    )
    return jax.device_get(f(state))


def collect(task, algorithm, count=4):
    """Returns a batch of the policy's episodes."""

    def make_batch(params):
        return experience(
            task,
            POLICY,
            algorithm,
            Weights(params, params, None),
            jax.random.key(1),
            jnp.int32(0),
            count,
        ).batch

    return on_one_device(make_batch, PARAMS)


def on_one_device(f, *inputs):
    mapped = jax.jit(
        jax.vmap(lambda _, inputs: f(*inputs), in_axes=(0, None), axis_name=parallel.AXIS)
    )
    return jax.tree.map(lambda x: x[0], mapped(jnp.arange(1), inputs))


def test_a_mixture_of_one_is_the_task_itself_bitwise():
    alone, together = update_once(Ragged()), update_once({"ragged": Ragged()})
    chex.assert_trees_all_equal(alone, together)


MORE = [pytest.param(how, marks=pytest.mark.slow) for how in ("sequence_mean", "constant")]


@pytest.mark.parametrize("aggregation", ["token_mean", *MORE])
def test_the_aggregation_weighs_the_tasks_of_a_mixture(aggregation):
    algorithm = replace(ALGORITHM, aggregation=aggregation)
    setup, tasks = learner.setup(POLICY, algorithm, 4, 0), list(MIXTURE.values())
    batches, specs = (
        [collect(task, algorithm, count) for task, count in zip(tasks, (4, 2))],
        [task.spec for task in tasks],
    )

    def slope(which):
        f = on_one_device(
            lambda p: gradients.gradient(
                setup, [specs[i] for i in which], algorithm, p, [batches[i] for i in which]
            )[0],
            PARAMS,
        )
        return jax.tree.map(np.asarray, f)

    size = {"token_mean": lambda m: m.sum(), "sequence_mean": len, "constant": lambda m: m.size}[
        aggregation
    ]
    count = [float(size(np.asarray(batch.mask))) for batch in batches]
    expected = jax.tree.map(
        lambda a, b: (count[0] * a + count[1] * b) / sum(count), slope([0]), slope([1])
    )
    assert count[0] != count[1] and max(np.abs(x).max() for x in jax.tree.leaves(expected)) > 1e-3
    chex.assert_trees_all_close(slope([0, 1]), expected, rtol=1e-4, atol=1e-6)


@pytest.mark.slow
def test_an_update_of_a_mixture_is_the_same_on_one_device_and_on_two():
    one, two = update_once(MIXTURE), update_once(MIXTURE, devices=2)
    chex.assert_trees_all_close(one[0].params, two[0].params, rtol=0, atol=1e-6)


def test_metrics_are_told_of_each_task_and_costs_add_up():
    _, log = update_once(MIXTURE)
    assert log["success"] == pytest.approx((log["ragged/success"] + log["chain/success"]) / 2)
    assert log["env_steps"] == pytest.approx(8 * (log["ragged/turns"] + log["chain/turns"]))


@pytest.mark.slow
def test_a_mixture_trains_and_is_evaluated_task_by_task():
    algorithm = replace(algorithms.SFT, problems=8, minibatches=2)
    run = Run(
        MIXTURE,
        algorithm,
        POLICY,
        updates=4,
        chunk=2,
        eval_every=4,
        eval_episodes=8,
        checkpoint_every=4,
        devices=1,
    )
    entries = train(run).entries
    assert {"eval_success", "eval_ragged/success", "eval_chain/success", "ragged/success"} <= set(
        entries[-1]
    )
    alone = Programs(replace(run, task=MIXTURE["chain"])).evaluate(train(run).state.params)[
        "success"
    ]
    assert alone == entries[-1]["eval_chain/success"]


def test_a_mixture_is_written_and_read_as_json():
    mixture = {"key_door": KeyDoor(delay=3), "chain_pit": ChainPit()}
    assert from_json(to_json(mixture)) == mixture


def test_a_mixture_that_cannot_share_the_batch_is_refused():
    for changes in (dict(problems=9), dict(problems=2, attempts=2, minibatches=4)):
        with pytest.raises(ConfigError, match="task"):
            Programs(Run(MIXTURE, replace(ALGORITHM, **changes), POLICY, devices=1))
