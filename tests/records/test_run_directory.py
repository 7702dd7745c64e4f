"""A run's directory survives kills, full disks and other people's files."""

import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from agentic_rl.config import ConfigError
from agentic_rl.records.disk_errors import DiskNotice
from agentic_rl.records.run_directory import RunDirectory
from tests.runs import CONFIG, contents, learner, same_bits, write_run


def view(path: Path) -> EventAccumulator:
    """Returns what TensorBoard shows of a run."""
    events = EventAccumulator(str(path / path.name))
    events.Reload()
    return events


def scalars(path: Path, tag: str) -> list[tuple[int, float]]:
    events = view(path)
    return [(event.step, event.value) for event in events.Scalars(tag)]


def test_a_new_run_says_what_it_is_and_what_made_it(tmp_path):
    run = RunDirectory.create(tmp_path / "deep" / "run", CONFIG)
    stored = json.loads((run.path / "config.json").read_text())
    assert stored["config"] == run.config == {**CONFIG, "betas": [0.9, 0.95]}
    assert stored["made_by"]["versions"]["jax"] == jax.__version__
    assert stored["made_by"]["devices"]["count"] == jax.device_count()
    assert run.result is None and run.metrics == [] and run.resume(learner(0)) is None
    run.close()
    assert os.listdir(run.path) == ["config.json"]


KILLED = """
import os, signal, sys
from pathlib import Path
sys.path[:0] = [{tests!r}, {root!r}]
from agentic_rl.records.run_directory import RunDirectory
from tests.runs import CONFIG, learner, write_run

write_run(Path({path!r}), range(1, 6))
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
        assert [entry["step"] for entry in run.metrics] == list(range(1, last + 1))
        run.save(7, state)
    assert sorted(os.listdir(tmp_path / "checkpoints")) == [str(last), "7"]


def test_resuming_drops_only_what_was_logged_after_the_checkpoint(tmp_path):
    write_run(tmp_path, range(1, 4))
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


def test_a_run_that_lost_its_checkpoints_does_not_start_over(tmp_path):
    write_run(tmp_path, range(3))
    shutil.rmtree(tmp_path / "checkpoints")
    before = contents(tmp_path)
    with (
        RunDirectory.create(tmp_path, CONFIG) as run,
        pytest.raises(ConfigError, match="logged 2 updates and holds no checkpoint"),
    ):
        run.resume(learner(0))
    assert contents(tmp_path) == before


def test_a_torn_last_line_is_no_entry(tmp_path):
    write_run(tmp_path, range(1, 3))
    with open(tmp_path / "metrics.jsonl", "a") as file:
        file.write('{"step": 2, "lo')
    assert [entry["step"] for entry in RunDirectory.open(tmp_path).metrics] == [1, 2]
    with (
        RunDirectory.create(tmp_path, CONFIG) as run,
        pytest.warns(DiskNotice, match="metrics.jsonl was damaged"),
    ):
        run.resume(learner(0))
        run.log({"step": 3, "loss": 0.5})
        assert [entry["step"] for entry in run.metrics] == [1, 2, 3]
    assert (tmp_path / "metrics.jsonl.damaged").read_text() == '{"step": 2, "lo\n'


def test_numbers_read_back_as_they_were(tmp_path):
    values = np.float32([0.1, 1 / 3, 1e-45, 3.4e38, np.nan, np.inf, -np.inf])
    with RunDirectory.create(tmp_path, CONFIG) as run:
        run.log(
            {"step": np.int64(1), "numpy": values, "jax": jnp.asarray(values), "scalar": values[1]}
        )
    entry = RunDirectory.open(tmp_path).metrics[0]
    assert same_bits(np.float32(entry["numpy"]), values) and same_bits(
        np.float32(entry["jax"]), values
    )
    assert entry["step"] == 1 and np.float32(entry["scalar"]) == values[1]


def test_tensorboard_shows_each_step_once_after_a_resume(tmp_path):
    write_run(tmp_path, range(1, 4))
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
        entry["time"] for entry in RunDirectory.open(tmp_path).metrics
    ]


def test_a_finished_run_has_a_result_settings_and_learning_curves(tmp_path):
    write_run(tmp_path, range(1, 3))
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
    write_run(tmp_path, range(1, 2))
    before = contents(tmp_path)
    with pytest.raises(ConfigError, match=r"task\.num_turns is 8 there and 9 here"):
        RunDirectory.create(tmp_path, {**CONFIG, "task": {**CONFIG["task"], "num_turns": 9}})
    with pytest.raises(ConfigError, match="num_steps is absent there and 5 here"):
        RunDirectory.create(tmp_path, {**CONFIG, "num_steps": 5})
    assert contents(tmp_path) == before


def test_another_config_keeps_the_maker_and_the_earlier_result(tmp_path):
    write_run(tmp_path, range(1, 3))
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


def test_whoever_writes_keeps_others_out_until_it_closes(tmp_path):
    first = RunDirectory.create(tmp_path, CONFIG)
    first.log({"step": 0, "loss": 0.5})
    before = contents(tmp_path)
    second = RunDirectory.create(tmp_path, CONFIG)  # to open is no harm
    assert [entry["step"] for entry in second.entries()] == [0]
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
