"""A run continues for more updates, and on other devices; nothing else may change."""

import dataclasses
import json
import shutil
from pathlib import Path
from types import SimpleNamespace

import jax
import numpy as np
import pytest

from agentic_rl.config import ConfigError
from agentic_rl.records.run_directory import RunDirectory
from agentic_rl.training.run import MAY_CHANGE, load
from experiments import train
from experiments.cli import flags, resume
from tests.experiments.program_runs import TINY, assert_one_sentence, contents

pytestmark = pytest.mark.usefixtures("keep_process")

LONGER = [*"grpo running_sum --updates 20 --chunk 5 --warm-start.updates 5".split(), *TINY]
LONGER += "--eval-every 5 --eval-episodes 64 --checkpoint-every 5".split()


def config_of(path: Path) -> dict:
    return json.loads((path / "config.json").read_text())["config"]


@pytest.mark.slow
def test_a_finished_run_goes_on_bit_by_bit_as_one_of_that_length(call, copy, tmp_path):
    code, out, _ = call(train, "--resume", copy, "--updates", 20)
    assert code == 0 and "--updates was 10 and is 20" in out
    assert call(train, *LONGER, "--run-dir", tmp_path / "whole")[0] == 0
    (_, longer), (_, whole) = load(str(copy)), load(str(tmp_path / "whole"))
    assert all(
        np.array_equal(a, b)
        for a, b in zip(jax.tree.leaves(longer), jax.tree.leaves(whole), strict=True)
    )
    logged = [
        [{k: x for k, x in row.items() if k != "time"} for row in RunDirectory.open(p).metrics]
        for p in (copy, tmp_path / "whole")
    ]
    assert logged[0] == logged[1] and len(logged[0]) == 21
    assert (
        config_of(copy)["updates"] == 20
        and RunDirectory.open(copy).result["eval_success"] == logged[0][-1]["eval_success"]
    )
    earlier = json.loads((copy / "earlier_result.json").read_text())
    assert earlier["eval_success"] == logged[0][10]["eval_success"]


@pytest.mark.slow
def test_devices_and_intervals_may_change_and_the_config_keeps_the_newest(call, copy):
    (copy / "result.json").unlink()  # as if it were unfinished
    shutil.rmtree(max((copy / "checkpoints").iterdir(), key=lambda folder: int(folder.name)))
    code, out, err = call(train, "--resume", copy, "--devices", 2, "--eval-every", 10)
    assert code == 0, err
    assert (config_of(copy)["devices"], config_of(copy)["eval_every"]) == (2, 10)
    assert len(RunDirectory.open(copy).metrics) == 11 and "--devices was 1 and is 2" in out


def test_a_run_stopped_in_its_warm_start_goes_on_in_chunks_that_end_with_it(monkeypatch):
    run = flags.parse(train.Command, ["grpo", "running_sum", "--warm-start.updates", "40"]).run
    directory = SimpleNamespace(
        restore=lambda template: None, warm_start=SimpleNamespace(newest=10), path="here"
    )
    with pytest.raises(
        ConfigError,
        match=r"update 10 of the warm start, which must be a multiple of --chunk, unlike 20\.",
    ):
        resume.check_changes(directory, run, dataclasses.replace(run, chunk=20))
    assert resume.check_changes(directory, run, dataclasses.replace(run, chunk=5)) == [
        "--chunk was 10 and is 5"
    ]


def test_where_more_updates_change_a_decaying_learning_rate_that_is_said():
    directory = SimpleNamespace(restore=lambda template: (10, None), path="here")

    def said(decay, **changes):
        run = flags.parse(
            train.Command, ["grpo", "running_sum", f"--algorithm.optimizer.decay={decay}"]
        ).run
        return resume.check_changes(directory, run, dataclasses.replace(run, **changes))

    sentence = (
        "from update 10 on the learning rate follows the cosine decay of a run of 400 updates"
    )
    assert said("cosine", updates=400) == ["--updates was 200 and is 400", sentence]
    assert said("constant", updates=400) == ["--updates was 200 and is 400"]
    assert said("cosine", devices=2) == ["--devices was 0 and is 2"]


def test_a_finished_cell_of_a_study_is_shown_without_its_records(capsys):
    run = flags.parse(train.Command, ["grpo", "running_sum"]).run
    resume.show_finished("here", run, {"scores": [{"task": "running_sum", "success": 0.5}]})
    assert capsys.readouterr().out.startswith("here is finished: 200 updates\nmore updates: ")


REFUSED = {
    "--seeds 2": ("--seeds cannot change while a run goes on", "begin a new run"),
    "--micro-batch 2": ("--micro-batch cannot change",),
    "--algorithm.optimizer.learning-rate 1e-3": (
        "--algorithm.optimizer.learning-rate cannot change",
        "--updates, --devices",
    ),
    "--updates 5": ("has done 10 updates", "more than that"),
    "--updates 20 --chunk 20 --eval-every 20 --checkpoint-every 20 ": (
        "--chunk (20) must divide the 5 updates of this run's warm start: use 5",
    ),
    "--run-dir x": ("leave out --run-dir",),
    "--quick": ("leave out --run-dir and --quick",),
    "--updates 20 --devices 64": ("--devices 64 asks for more", "add --devices 4"),
    "--devices 3 --updates 20": ("must be a multiple of the 3 devices",),
    "--lr 1": ("write --algorithm.optimizer.learning-rate",),
    "--updates nan": ("--updates must be a whole number",),
}


@pytest.mark.parametrize("words", REFUSED)
def test_what_would_make_it_another_run_is_refused_and_nothing_changes(call, copy, words):
    before = contents(copy)
    assert_one_sentence(call(train, "--resume", copy, *words.split()), *REFUSED[words])
    assert contents(copy) == before


def test_the_config_that_a_run_would_go_on_with_can_be_seen(call, copy):
    before = contents(copy)
    code, out, _ = call(train, "--resume", copy, "--updates", 30, "--print-config")
    assert code == 0 and '"updates": 30' in out and contents(copy) == before


def test_a_finished_run_is_shown_as_a_table_with_how_to_go_on(call, copy):
    code, out, _ = call(train, "--resume", copy)
    success = RunDirectory.open(copy).result["eval_success"][0]
    assert code == 0 and "is finished: 10 updates" in out and "[" not in out and "{" not in out
    assert any(line.split()[:2] == ["eval_success", f"{success:.3f}"] for line in out.splitlines())
    assert f"train --resume {copy} --updates 20" in out


def test_runs_begun_in_one_second_have_names_of_their_own(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert [train.new_folder("runs/a") for _ in range(3)] == ["runs/a", "runs/a-2", "runs/a-3"]


def test_what_may_change_is_what_the_user_is_told():
    assert set(MAY_CHANGE) == {
        "updates",
        "devices",
        "launcher",
        "chunk",
        "eval_every",
        "checkpoint_every",
    }
