"""Programs lower for accelerators that this machine does not have."""

import jax
import jax.numpy as jnp
import pytest

from agentic_rl import algorithms
from agentic_rl.envs.running_sum import RunningSum
from agentic_rl.policy import transformer
from agentic_rl.policy.transformer import Policy
from agentic_rl.rollout.evaluate import evaluator
from agentic_rl.training import learner
from agentic_rl.training.programs import Programs
from agentic_rl.training.run import Run

SMALL, LARGE = Policy(), Policy(width=768, layers=13, heads=12, mlp=2304)
every_platform = pytest.mark.parametrize("platform", ["cuda", "tpu"])
every_size = pytest.mark.parametrize(
    "policy",
    [SMALL, pytest.param(LARGE, marks=pytest.mark.slow)],
    ids=["135 thousand", "100 million"],
)


def prepare(policy, algorithm=algorithms.GRPO):
    """Returns a run's programs on two devices, and the shapes of its state [S, ...]."""
    run = Run(RunningSum(), algorithm, policy, launcher="shard_map", devices=2)
    programs = Programs(run)

    def init(seed):
        return learner.init(algorithm, transformer.init(policy, jax.random.key(seed)))

    return programs, jax.eval_shape(jax.vmap(init), jnp.arange(run.seeds))


def has_collectives(exported):
    return "all_reduce" in exported.mlir_module() and exported.nr_devices == 2


@every_platform
@every_size
@pytest.mark.parametrize("algorithm", ["grpo", pytest.param("ppo", marks=pytest.mark.slow)])
def test_an_update_lowers_for_accelerators(policy, algorithm, platform):
    programs, state = prepare(policy, algorithms.by_name()[algorithm])
    run = programs.run
    program = programs.program(run.algorithm, run.updates)
    exported = program.export(platform, run.task, run.algorithm, programs.seed, state)
    assert exported.platforms == (platform,) and has_collectives(exported)
    assert jax.tree.leaves(exported.out_avals)[0].shape == jax.tree.leaves(state)[0].shape


@every_platform
@every_size
def test_an_evaluation_lowers_for_accelerators(policy, platform):
    programs, state = prepare(policy)
    where = tuple(programs.devices), "shard_map", 1
    program = evaluator(policy, 256, 1, "test", *where)
    exported = program.export(platform, RunningSum(), programs.seed, state.params, 1.0)
    assert exported.platforms == (platform,) and exported.nr_devices == 2


def test_the_large_policy_has_a_hundred_million_parameters():
    assert transformer.num_params(LARGE) == pytest.approx(1e8, rel=0.05)
