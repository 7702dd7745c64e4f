"""A run's directory survives kills, full disks and other people's files."""

import errno
import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from agentic_rl.config import ConfigError
from agentic_rl.records.disk_errors import DiskNotice
from agentic_rl.records.run_directory import RunDirectory

CONFIG = {
    "seed": 0,
    "task": {"class": "agentic_rl.envs.running_sum.RunningSum", "num_turns": 8},
    "betas": (0.9, 0.95),
}


class Learner(NamedTuple):
    params: dict
    optimizer: optax.OptState
    num_updates: jax.Array


def learner(step: int, width: int = 3) -> Learner:
    """A state as training has it: a leading axis of 2 seeds, several dtypes, NaN among the values."""
    w = np.random.default_rng(step).normal(size=(2, width, 4)).astype(np.float32)
    w[0, 0, 0] = np.nan
    params = {"w": jnp.asarray(w), "b": jnp.full((2, 4), 0.1 * step, jnp.bfloat16)}
    optimizer = optax.chain(optax.clip_by_global_norm(1.0), optax.adam(1e-3))
    return Learner(params, optimizer.init(params), jnp.full(2, step, jnp.int32))


def same_bits(a, b) -> bool:
    leaves = zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True)
    return jax.tree.structure(a) == jax.tree.structure(b) and all(
        x.dtype == y.dtype
        and x.shape == y.shape
        and np.asarray(x).tobytes() == np.asarray(y).tobytes()
        for x, y in leaves
    )


def contents(path: Path) -> dict[str, bytes]:
    return {
        str(file.relative_to(path)): file.read_bytes() for file in path.rglob("*") if file.is_file()
    }


def view(path: Path) -> EventAccumulator:
    """What TensorBoard shows of a run."""
    events = EventAccumulator(str(path / path.name))
    events.Reload()
    return events


def scalars(path: Path, tag: str) -> list[tuple[int, float]]:
    events = view(path)
    return [(event.step, event.value) for event in events.Scalars(tag)]


def train(path: Path, steps: range, width: int = 3) -> None:
    with RunDirectory.create(path, CONFIG) as run:
        for step in steps:
            run.log({"step": step, "success": [step / 10, step / 5], "loss": 1 / (step or 1)})
            run.log_episodes(step, [f"start with {step}\n{step} + 1 -> {step + 1}", "success"])
            run.save(step, learner(step, width))


def test_a_new_run_says_what_it_is_and_what_made_it(tmp_path):
    run = RunDirectory.create(tmp_path / "deep" / "run", CONFIG)
    stored = json.loads((run.path / "config.json").read_text())
    assert stored["config"] == run.config == {**CONFIG, "betas": [0.9, 0.95]}
    assert stored["made_by"]["versions"]["jax"] == jax.__version__
    assert stored["made_by"]["devices"]["count"] == jax.device_count()
    assert run.result is None and run.metrics == [] and run.resume(learner(0)) is None
    run.close()
    assert os.listdir(run.path) == ["config.json"]


def test_a_checkpoint_restores_bitwise_to_host_arrays(tmp_path):
    train(tmp_path, range(1, 4))
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
    train(tmp_path, range(1, 6))
    assert sorted(os.listdir(tmp_path / "checkpoints")) == ["4", "5"]


KILLED = """
import os, signal, sys
from pathlib import Path
sys.path[:0] = [{tests!r}, {root!r}]
from tests.records.test_run_directory import CONFIG, RunDirectory, learner, train

train(Path({path!r}), range(1, 6))
run = RunDirectory.create({path!r}, CONFIG)
kill = lambda *_, **__: os.kill(os.getpid(), signal.SIGKILL)
run.log({{"step": 6, "loss": 0.5}})
if {during}:
    os.rename = kill  # how Orbax commits a checkpoint whose files are all written
run.save(6, learner(6))
run.wait()
kill()
"""


@pytest.mark.parametrize("during", [False, True], ids=["between saves", "during a save"])
def test_a_run_killed_resumes_from_the_last_complete_checkpoint(tmp_path, during):
    here = Path(__file__).parents[1]
    script = KILLED.format(
        tests=str(here), root=str(here.parent), path=str(tmp_path), during=during
    )
    killed = subprocess.run(
        [sys.executable, "-c", script], env={**os.environ, "JAX_PLATFORMS": "cpu"}, timeout=60
    )
    assert killed.returncode == -signal.SIGKILL
    last = 5 if during else 6
    assert len(list(tmp_path.glob("checkpoints/*tmp*"))) == during
    with RunDirectory.create(tmp_path, CONFIG) as run:
        step, state = run.resume(learner(0))
        assert step == last and same_bits(state, learner(last))
        assert [row["step"] for row in run.metrics] == list(range(1, last + 1))
        run.save(7, state)
    assert sorted(os.listdir(tmp_path / "checkpoints")) == [str(last), "7"]


def test_resuming_drops_what_was_logged_after_the_checkpoint_and_nothing_else(tmp_path):
    train(tmp_path, range(1, 4))
    before = RunDirectory.open(tmp_path)
    metrics, episodes = before.metrics, before.episodes
    with RunDirectory.create(tmp_path, CONFIG) as run:
        run.log({"step": 4, "loss": 0.25})
        run.log_episodes(4, ["lost"])
        assert len(run.metrics) == len(run.episodes) == 4
    with RunDirectory.create(tmp_path, CONFIG) as run:
        run.resume(learner(0))
        assert run.metrics == metrics and run.episodes == episodes


def test_without_a_checkpoint_a_run_starts_over(tmp_path):
    with RunDirectory.create(tmp_path, CONFIG) as run:
        run.log({"step": 0, "loss": 0.5})
    with RunDirectory.create(tmp_path, CONFIG) as run:
        assert run.resume(learner(0)) is None and run.metrics == []


def test_a_run_without_its_checkpoints_keeps_its_log_and_does_not_start_over(tmp_path):
    train(tmp_path, range(3))
    shutil.rmtree(tmp_path / "checkpoints")
    before = contents(tmp_path)
    with (
        RunDirectory.create(tmp_path, CONFIG) as run,
        pytest.raises(ConfigError, match="logged 2 updates and holds no checkpoint"),
    ):
        run.resume(learner(0))
    assert contents(tmp_path) == before


def test_a_torn_last_line_is_no_row(tmp_path):
    train(tmp_path, range(1, 3))
    with open(tmp_path / "metrics.jsonl", "a") as file:
        file.write('{"step": 2, "lo')
    assert [row["step"] for row in RunDirectory.open(tmp_path).metrics] == [1, 2]
    with (
        RunDirectory.create(tmp_path, CONFIG) as run,
        pytest.warns(DiskNotice, match="metrics.jsonl was damaged"),
    ):
        run.resume(learner(0))
        run.log({"step": 3, "loss": 0.5})
        assert [row["step"] for row in run.metrics] == [1, 2, 3]
    assert (tmp_path / "metrics.jsonl.damaged").read_text() == '{"step": 2, "lo\n'


def test_numbers_read_back_as_they_were(tmp_path):
    values = np.float32([0.1, 1 / 3, 1e-45, 3.4e38, np.nan, np.inf, -np.inf])
    with RunDirectory.create(tmp_path, CONFIG) as run:
        run.log(
            {"step": np.int64(1), "numpy": values, "jax": jnp.asarray(values), "scalar": values[1]}
        )
    row = RunDirectory.open(tmp_path).metrics[0]
    assert same_bits(np.float32(row["numpy"]), values) and same_bits(np.float32(row["jax"]), values)
    assert row["step"] == 1 and np.float32(row["scalar"]) == values[1]


def test_tensorboard_shows_each_step_once_after_a_resume(tmp_path):
    train(tmp_path, range(1, 4))
    with RunDirectory.create(tmp_path, CONFIG) as run:
        run.log({"step": 4, "success": [9.0, 9.0], "loss": 9.0})
    with RunDirectory.create(tmp_path, CONFIG) as run:
        run.resume(learner(0))
        for step in (4, 5):
            run.log({"step": step, "success": [step / 10, step / 5], "loss": 1 / (step or 1)})
    steps = range(1, 6)
    assert scalars(tmp_path, "train/loss") == [(step, pytest.approx(1 / step)) for step in steps]
    assert scalars(tmp_path, "train/success") == [
        (step, pytest.approx(0.15 * step)) for step in steps
    ]
    events = view(tmp_path)
    assert [event.step for event in events.Tensors("episodes/text_summary")] == [1, 2, 3]
    assert [event.wall_time for event in events.Scalars("train/loss")] == [
        row["time"] for row in RunDirectory.open(tmp_path).metrics
    ]


def test_a_finished_run_has_a_result_its_hyperparameters_and_learning_curves(tmp_path):
    train(tmp_path, range(1, 3))
    with RunDirectory.create(tmp_path, CONFIG) as run:
        run.resume(learner(0))
        run.finish({"success": np.float32(0.5)})
    assert RunDirectory.open(tmp_path).result == {"success": 0.5}
    events = view(tmp_path)
    assert events.Tags()["images"] == ["learning_curves"]
    assert (
        "hparams" in events.summary_metadata["_hparams_/session_start_info"].plugin_data.plugin_name
    )
    assert (
        b"running_sum"
        in events.summary_metadata["_hparams_/session_start_info"].plugin_data.content
    )


def test_a_foreign_directory_or_file_is_refused_and_left_as_it_was(tmp_path):
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "thesis.tex").write_text("years of work")
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "config.json").write_text('{"hidden_size": 8}')
    before = contents(tmp_path)
    for path in ("other", "model", "other/thesis.tex"):
        with pytest.raises(ConfigError, match=path):
            RunDirectory.create(tmp_path / path, CONFIG)
    for path in ("other", "model", "other/thesis.tex", "nowhere"):
        with pytest.raises(ConfigError, match="not the directory of a run"):
            RunDirectory.open(tmp_path / path)
    assert contents(tmp_path) == before and not (tmp_path / "nowhere").exists()


def test_a_run_of_another_config_is_refused_and_the_difference_named(tmp_path):
    train(tmp_path, range(1, 2))
    before = contents(tmp_path)
    with pytest.raises(ConfigError, match=r"task\.num_turns is 8 there and 9 here"):
        RunDirectory.create(tmp_path, {**CONFIG, "task": {**CONFIG["task"], "num_turns": 9}})
    with pytest.raises(ConfigError, match="num_steps is absent there and 5 here"):
        RunDirectory.create(tmp_path, {**CONFIG, "num_steps": 5})
    assert contents(tmp_path) == before


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
def test_of_a_damaged_checkpoint_the_one_before_it_is_used_and_nothing_is_erased(tmp_path, how):
    train(tmp_path, range(1, 3), width=500)
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
        assert [row["step"] for row in run.entries()] == [1]
        run.save(2, learner(2, width=500))
    assert contents(tmp_path / "checkpoints.damaged" / "2") == harmed
    assert RunDirectory.open(tmp_path).restore(learner(0, width=500))[0] == 2


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_if_all_checkpoints_are_damaged_nothing_is_dropped(tmp_path):
    train(tmp_path, range(1, 3), width=500)
    for step in "12":
        harm(tmp_path / "checkpoints" / step, "truncated")
    before = contents(tmp_path)
    with (
        RunDirectory.create(tmp_path, CONFIG) as run,
        pytest.raises(ConfigError, match=r"2 is damaged\. .*1 is damaged\. There is no other"),
    ):
        run.resume(learner(0, width=500))
    assert contents(tmp_path) == before


def test_a_checkpoint_of_other_shapes_dtypes_or_structure_is_refused_and_the_difference_named(
    tmp_path,
):
    train(tmp_path, range(1, 2))
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


def test_a_run_that_goes_on_with_another_config_keeps_who_made_it_and_its_earlier_result(tmp_path):
    train(tmp_path, range(1, 3))
    made_by = RunDirectory.open(tmp_path).made_by
    with RunDirectory.create(tmp_path, CONFIG) as run:
        run.finish({"success": 0.5})
    with RunDirectory.open(tmp_path) as run:
        run.reconfigure({**CONFIG, "updates": 400})
        assert run.config["updates"] == 400 and run.result is None
    later = RunDirectory.open(tmp_path)
    assert later.config == run.config and later.made_by == made_by
    assert len(json.loads((tmp_path / "config.json").read_text())["resumed_by"]) == 1
    assert json.loads((tmp_path / "earlier_result.json").read_text()) == {"success": 0.5}


def test_a_config_that_the_disk_refuses_leaves_the_run_finished_as_it_was(tmp_path, monkeypatch):
    with RunDirectory.create(tmp_path, CONFIG) as run:
        run.finish({"success": 0.5})

    def full(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr("agentic_rl.records.atomic_files.write", full)
    with RunDirectory.open(tmp_path) as run, pytest.raises(ConfigError, match="No space left"):
        run.reconfigure({**CONFIG, "updates": 400})
    assert (
        RunDirectory.open(tmp_path).result == {"success": 0.5}
        and "updates" not in RunDirectory.open(tmp_path).config
    )


def test_whoever_writes_keeps_others_out_until_it_closes(tmp_path):
    first = RunDirectory.create(tmp_path, CONFIG)
    first.log({"step": 0, "loss": 0.5})
    before = contents(tmp_path)
    second = RunDirectory.create(tmp_path, CONFIG)  # to open is no harm
    assert [row["step"] for row in second.entries()] == [0]
    acts = [
        second.__enter__,
        lambda: second.log({"step": 1}),
        lambda: second.log_episodes(1, []),
        lambda: second.save(1, learner(1)),
        lambda: second.resume(learner(1)),
        lambda: second.finish({}),
        lambda: second.reconfigure({}),
    ]
    for act in acts:
        with pytest.raises(ConfigError, match="already writes in"):
            act()
    assert contents(tmp_path) == before
    first.close()
    with second:
        second.log({"step": 1, "loss": 0.25})


def test_a_directory_that_cannot_be_written_is_one_sentence(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match="Cannot write to .*Not a directory"):
        RunDirectory.create(tmp_path / "file" / "run", CONFIG)


def full(*_, **__):
    raise OSError(errno.ENOSPC, "No space left on device")


def test_a_full_disk_is_one_sentence_and_leaves_nothing_half_written(tmp_path, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", full)
        with pytest.raises(ConfigError, match="No space left on device"):
            RunDirectory.create(tmp_path, CONFIG)
    assert contents(tmp_path) == {}

    train(tmp_path, range(1, 4))
    RunDirectory.create(tmp_path, CONFIG).log({"step": 4, "loss": 0.5})
    before = contents(tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr(os, "truncate", full)
        with pytest.raises(ConfigError, match="No space left on device"):
            RunDirectory.create(tmp_path, CONFIG).resume(learner(0))
    assert contents(tmp_path) == before


FULL = """
import resource, signal, sys
sys.path[:0] = [{tests!r}, {root!r}]
from tests.records.test_run_directory import CONFIG, ConfigError, RunDirectory, learner

signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
run = RunDirectory.create({path!r}, CONFIG)
run.save(1, learner(1))
run.wait()
resource.setrlimit(resource.RLIMIT_FSIZE, (6000, resource.RLIM_INFINITY))  # files above 6 kB fail
refused = []
for act in (lambda: run.save(2, learner(2, width=5000)), run.wait):
    try:
        act()
    except ConfigError as error:
        refused.append(str(error))
for step in range(1000):
    try:
        run.log({{"step": step, **{{f"m{{i}}": 0.5 for i in range(300)}}}})
    except ConfigError as error:
        refused.append(str(error))
        break
print(*refused, sep="\\n")
"""


def test_a_disk_that_fills_up_while_training_ends_the_run_in_a_sentence_and_keeps_the_checkpoint(
    tmp_path,
):
    here = Path(__file__).parents[1]
    script = FULL.format(tests=str(here), root=str(here.parent), path=str(tmp_path))
    command = [sys.executable, "-c", script]
    ended = subprocess.run(
        command,
        env={**os.environ, "JAX_PLATFORMS": "cpu"},
        timeout=60,
        capture_output=True,
        text=True,
    )
    assert "Traceback" not in ended.stderr, ended.stderr
    save, log = ended.stdout.splitlines()
    assert save.startswith(
        f"Cannot write a checkpoint to {tmp_path / 'checkpoints'} (File too large"
    )
    assert log.startswith(f"Cannot write to {tmp_path} (File too large)")
    run = RunDirectory.open(tmp_path)
    assert run.restore(learner(0))[0] == 1
    assert [row["step"] for row in run.metrics] == list(range(len(run.metrics))) != []
