"""A kill, an interruption or a resume leaves no trace in the numbers of a run."""

import json
import os
import signal
import subprocess
import sys

import chex
import jax
import pytest

from agentic_rl.config import to_json
from agentic_rl.records.run_directory import RunDirectory
from tests.training.toy_run import (
    LONG_START,
    RUN,
    assert_same_run,
    train_in,
    without_clocks,
)


@pytest.mark.parametrize("after", [2, 4])  # checkpoints are due at 4 and 8
def test_an_interrupted_run_goes_on_bitwise(tmp_path, whole, after):
    steps = []
    stopped = train_in(
        tmp_path / "run",
        on_progress=steps.append,
        should_stop=lambda: ("training", after) in [(p.phase, p.step) for p in steps],
    )
    assert not stopped.finished and stopped.entries[-1]["step"] == after + 2
    assert (
        RunDirectory.open(tmp_path / "run").restore(jax.device_get(stopped.state))[0] == after + 2
    )
    result = train_in(tmp_path / "run")
    assert result.finished
    assert_same_run(tmp_path / "run", result, whole)


KILLED = """
import os, signal, sys, json
import jax
jax.config.update("jax_num_cpu_devices", 4)
jax.config.update("jax_compilation_cache_dir", sys.argv[3])
jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.1)
from agentic_rl.config import from_json
from agentic_rl.records.run_directory import RunDirectory
from agentic_rl.training.train import train

run, when = from_json(json.loads(sys.argv[1])), sys.argv[4]
directory = RunDirectory.create(sys.argv[2], json.loads(sys.argv[1]))
kill = lambda *_, **__: os.kill(os.getpid(), signal.SIGKILL)
log, save = directory.log, directory.save

def log_until(entry):
    log(entry)
    if entry["step"] == 7 and when == "between saves":
        directory.wait()
        kill()

def save_until(step, state):
    if step == 4 and when == "during a save":
        directory.wait()
        os.rename = kill  # how Orbax commits a checkpoint whose files are all written
    save(step, state)

directory.log, directory.save = log_until, save_until
train(run, directory)
directory.wait()
"""


@pytest.mark.parametrize(
    "when, newest, logged",
    [pytest.param("between saves", 4, 7, marks=pytest.mark.slow), ("during a save", 0, 4)],
)
def test_a_run_killed_resumes_bitwise_and_logs_nothing_twice(tmp_path, whole, when, newest, logged):
    path, cache_directory = tmp_path / "run", jax.config.jax_compilation_cache_dir
    command = [
        sys.executable,
        "-c",
        KILLED,
        json.dumps(to_json(RUN)),
        str(path),
        cache_directory,
        when,
    ]
    killed = subprocess.run(
        command,
        env={**os.environ, "JAX_PLATFORMS": "cpu"},
        timeout=300,
        capture_output=True,
        text=True,
    )
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    left = RunDirectory.open(path)
    assert left.restore(jax.device_get(whole[1].state))[0] == newest
    assert left.metrics[-1]["step"] >= logged
    assert_same_run(path, train_in(path), whole)


def test_an_interrupted_warm_start_goes_on_bitwise(tmp_path, whole):
    seen = []
    stopped = train_in(
        tmp_path / "run",
        LONG_START,
        on_progress=seen.append,
        should_stop=lambda: "warm start" in [p.phase for p in seen],
    )
    assert (stopped.finished, stopped.state, stopped.last) == (False, None, {})
    left = RunDirectory.open(tmp_path / "run")
    assert left.metrics == [] and [p.name for p in left.warm_start.folder.iterdir()] == ["2"]
    result, ended = train_in(tmp_path / "run", LONG_START), train_in(tmp_path / "whole", LONG_START)
    chex.assert_trees_all_equal(jax.device_get(result.state), jax.device_get(ended.state))
    assert without_clocks(tmp_path / "run") == without_clocks(tmp_path / "whole")
    assert (
        result.first["trained_tokens"] == [4 * 256 * 2] * 2
        and result.first["expert_labels"] == [300 * 2] * 2
    )


def test_a_run_whose_warm_start_was_finished_does_not_clone_again(tmp_path, whole):
    path, seen = tmp_path / "run", []
    stopped = train_in(
        path, should_stop=lambda: "warm start" in [p.phase for p in seen], on_progress=seen.append
    )
    assert (
        stopped.state is None and RunDirectory.open(path).warm_start.folder.joinpath("2").is_dir()
    )
    seen.clear()
    result = train_in(path, on_progress=seen.append)
    assert [(p.step, p.total) for p in seen if p.phase == "warm start"] == [(2, 2)]
    assert_same_run(path, result, whole)


def test_episodes_before_and_after_training_are_kept_once(whole, tmp_path):
    logged = RunDirectory.open(whole[0]).episodes
    assert [(entry["step"], len(entry["episodes"])) for entry in logged] == [(0, 3), (8, 3)]
    assert all(
        text.startswith("start with ") and ", return " in text
        for entry in logged
        for text in entry["episodes"]
    )
    seen = []
    path = tmp_path / "run"
    train_in(
        path,
        should_stop=lambda: ("training", 4) in seen,
        on_progress=lambda p: seen.append((p.phase, p.step)),
    )
    assert [entry["step"] for entry in RunDirectory.open(path).episodes] == [0]
    for _ in range(2):  # the second time nothing is left to train
        train_in(path)
        assert [entry["episodes"] for entry in RunDirectory.open(path).episodes] == [
            entry["episodes"] for entry in logged
        ]
