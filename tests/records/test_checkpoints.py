"""A checkpoint comes back to the bit; a damaged one is noticed, and kept."""

import os
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from agentic_rl.config import ConfigError
from agentic_rl.records.disk_errors import DiskNotice
from agentic_rl.records.run_directory import RunDirectory
from tests.runs import CONFIG, contents, learner, same_bits, write_run


def test_a_checkpoint_restores_bitwise_to_host_arrays(tmp_path):
    write_run(tmp_path, range(1, 4))
    step, state = RunDirectory.open(tmp_path).restore(jax.eval_shape(lambda: learner(3)))
    assert step == 3 and same_bits(state, learner(3))
    assert {type(leaf) for leaf in jax.tree.leaves(state)} == {np.ndarray}


def test_a_state_may_be_donated_as_soon_as_it_is_saved(tmp_path):
    update = jax.jit(lambda state: state * 1.5, donate_argnums=0)
    state, expected = jnp.ones((2, 1000, 1000)), np.ones((2, 1000, 1000), np.float32)
    with RunDirectory.create(tmp_path, CONFIG) as run:
        for step in range(3):
            run.save(step, state)
            for _ in range(3):
                state = update(state)
        assert same_bits(run.restore(state)[1], expected * np.float32(1.5) ** 6)


def test_the_last_two_checkpoints_are_kept(tmp_path):
    write_run(tmp_path, range(1, 6))
    assert sorted(os.listdir(tmp_path / "checkpoints")) == ["4", "5"]


def harm(folder: Path, how: str) -> None:
    file = max(folder.rglob("*"), key=lambda file: file.stat().st_size if file.is_file() else -1)
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 1
    file.write_bytes(
        {"truncated": data[: len(data) // 2], "one bit flipped": data, "missing": b""}[how]
    )


@pytest.mark.filterwarnings(
    "ignore::pytest.PytestUnraisableExceptionWarning"
)  # Orbax leaves its other reads unawaited
@pytest.mark.parametrize("how", ["truncated", "one bit flipped", "missing"])
def test_the_checkpoint_before_a_damaged_one_is_used(tmp_path, how):
    write_run(tmp_path, range(1, 3), width=500)
    folder = tmp_path / "checkpoints" / "2"
    harm(folder, how)
    harmed, before = contents(folder), contents(tmp_path)
    with pytest.warns(
        DiskNotice, match=f"{folder} is damaged. The one before it, of update 1, is used"
    ):
        step, state = RunDirectory.open(tmp_path).restore(learner(0, width=500))
    assert step == 1 and same_bits(state, learner(1, width=500)) and contents(tmp_path) == before
    with RunDirectory.create(tmp_path, CONFIG) as run, pytest.warns(DiskNotice, match="is damaged"):
        assert run.resume(learner(0, width=500))[0] == 1
        assert [entry["step"] for entry in run.entries()] == [1]
        run.save(2, learner(2, width=500))
    assert contents(tmp_path / "checkpoints.damaged" / "2") == harmed
    assert RunDirectory.open(tmp_path).restore(learner(0, width=500))[0] == 2


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_if_all_checkpoints_are_damaged_nothing_is_dropped(tmp_path):
    write_run(tmp_path, range(1, 3), width=500)
    for step in "12":
        harm(tmp_path / "checkpoints" / step, "truncated")
    before = contents(tmp_path)
    with (
        RunDirectory.create(tmp_path, CONFIG) as run,
        pytest.raises(ConfigError, match=r"2 is damaged\. .*1 is damaged\. There is no other"),
    ):
        run.resume(learner(0, width=500))
    assert contents(tmp_path) == before


def test_a_checkpoint_of_another_model_is_refused_with_the_difference(
    tmp_path,
):
    write_run(tmp_path, range(1, 2))
    run, state = RunDirectory.open(tmp_path), learner(0)
    with pytest.raises(
        ConfigError,
        match=r"optimizer/1/0/mu/w is float32\[2, 3, 4\] there and float32\[2, 5, 4\] here",
    ):
        run.restore(learner(0, width=5))
    with pytest.raises(ConfigError, match=r"num_updates is int32\[2\] there and float32\[2\] here"):
        run.restore(state._replace(num_updates=jnp.zeros(2)))
    with pytest.raises(ConfigError, match=r"params/b is bfloat16\[2, 4\] there and absent here"):
        run.restore(state._replace(params={"w": state.params["w"]}))
