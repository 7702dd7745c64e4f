"""The fields of a run change nothing, rounding, or its numbers, as they promise."""

from dataclasses import fields, is_dataclass, replace
from functools import cache
from typing import Any

import chex
import jax
import pytest

from agentic_rl import algorithms, config
from agentic_rl.optimizer import Adam
from agentic_rl.records.run_directory import RunDirectory
from agentic_rl.training.run import Run
from agentic_rl.training.train import Result, train
from tests.adversarial_updates import POLICY, TASK, adversarial

# Fields of a run by what they may change: nothing, rounding, or the numbers.
EXACT = {"launcher": "shard_map", "chunk": 1, "checkpoint_every": 4}
ROUNDED = {"devices": 1, "micro_batch": 2, "seeds_at_once": 2}
COUNTED = {"updates", "seeds", "seed", "eval_every", "eval_episodes"}
RUN = Run(
    TASK,
    replace(adversarial(algorithms.GRPO), optimizer=Adam(learning_rate=1e-3)),
    POLICY,
    devices=2,
    seeds=2,
    updates=4,
    chunk=2,
    eval_every=4,
    eval_episodes=4,
    checkpoint_every=2,
    micro_batch=0,
    seeds_at_once=1,
)


def evaluations(result: Result) -> dict[str, Any]:
    return {name: x for name, x in result.entries[-1].items() if name.startswith("eval_")}


@cache
def outcome(run: Run) -> tuple[Any, dict[str, Any]]:
    """Returns final state and evaluations of a run without a directory."""
    result = train(run)
    return jax.device_get(result.state), evaluations(result)


def test_every_field_of_a_run_is_known_here():
    names = {f.name for f in fields(Run) if not is_dataclass(getattr(RUN, f.name))}
    assert names == EXACT.keys() | ROUNDED.keys() | COUNTED, (
        "Say in tests/config/test_run_fields.py what the new field of Run may change."
    )


@pytest.mark.slow
@pytest.mark.parametrize("chunk", [1, 4])
def test_launcher_chunk_checkpoints_and_a_directory_change_no_bit(tmp_path, chunk):
    run = replace(RUN, **EXACT | {"chunk": chunk})
    with RunDirectory.create(tmp_path / "run", config.to_json(run)) as directory:
        kept = train(run, directory)
    chex.assert_trees_all_equal(outcome(RUN)[0], jax.device_get(kept.state))
    assert outcome(RUN)[1] == evaluations(kept)


@pytest.mark.slow
@pytest.mark.parametrize(
    "changes",
    [ROUNDED, *(pytest.param({n: ROUNDED[n]}, marks=pytest.mark.slow) for n in ROUNDED)],
    ids=str,
)
def test_devices_micro_batches_and_seeds_at_once_change_rounding_only(changes):
    chex.assert_trees_all_close(
        outcome(RUN)[0], outcome(replace(RUN, **changes))[0], rtol=0, atol=1e-5
    )
