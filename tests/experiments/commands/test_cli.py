"""The programs as people use them.

Mistakes end in one sentence and change nothing, and a tiny run goes all the way.
"""

import errno
import json
import os
import shutil
import signal
import subprocess
import sys
import time

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.backend.event_processing.event_multiplexer import EventMultiplexer

from agentic_rl.records import atomic_files
from agentic_rl.records.run_directory import RunDirectory
from experiments import compare, evaluate, train, watch
from tests.experiments.program_runs import QUICK, ROOT, TINY, assert_one_sentence, contents

pytestmark = pytest.mark.usefixtures("keep_process")


def test_a_path_below_a_file_is_refused(call, tmp_path):
    (tmp_path / "file").write_text("mine")
    assert_one_sentence(
        call(train, *QUICK, "--run-dir", tmp_path / "file" / "run"),
        "Cannot write to",
        "Not a directory",
    )
    assert contents(tmp_path) == {"file": b"mine"}


def test_a_directory_of_other_files_is_refused_and_left_alone(call, tmp_path):
    (tmp_path / "thesis.tex").write_text("mine")
    assert_one_sentence(call(train, *QUICK, "--run-dir", tmp_path), "is not the directory of a run")
    assert contents(tmp_path) == {"thesis.tex": b"mine"}


def test_the_directory_of_another_config_is_refused_and_left_alone(call, copy):
    before = contents(copy)
    assert_one_sentence(
        call(train, *QUICK, "--seed", 7, "--run-dir", copy), "seed is 0 there and 7 here"
    )
    assert contents(copy) == before


def test_an_existing_run_is_not_continued_without_being_asked(call, copy):
    before = contents(copy)
    assert_one_sentence(
        call(train, *QUICK, "--run-dir", copy), "already holds this run", f"train --resume {copy}"
    )
    assert contents(copy) == before


def break_checkpoint(folder):
    (largest,) = sorted(
        (f for f in folder.rglob("*") if f.is_file()), key=lambda f: f.stat().st_size
    )[-1:]
    largest.write_bytes(largest.read_bytes()[: largest.stat().st_size // 2])


@pytest.mark.parametrize(
    "arguments",
    [(train, "--resume"), (watch, "--policy"), (evaluate,)],
    ids=["train", "watch", "evaluate"],
)
def test_truncated_checkpoints_are_named_and_kept(call, copy, arguments):
    (copy / "result.json").unlink()  # as if the run were unfinished
    for folder in (copy / "checkpoints").iterdir():
        break_checkpoint(folder)
    before = contents(copy)
    assert_one_sentence(
        call(*arguments, copy),
        f"{copy}/checkpoints/10 is damaged",
        f"{copy}/checkpoints/5 is damaged",
        "no other",
    )
    assert contents(copy) == before


def test_of_a_truncated_checkpoint_the_one_before_is_watched_and_that_is_said(call, copy):
    break_checkpoint(copy / "checkpoints" / "10")
    code, out, err = call(watch, "--policy", copy)
    assert code == 0 and "start with" in out
    assert "The one before it, of update 5, is used instead." in err and "Traceback" not in err, err


def test_the_checkpoint_of_another_model_is_refused(call, copy):
    stored = json.loads((copy / "config.json").read_text())
    stored["config"]["policy"]["width"] = 32
    (copy / "config.json").write_text(json.dumps(stored))
    assert_one_sentence(
        call(watch, "--policy", copy),
        "is of another model",
        "float32[1, 16, 16] there and float32[1, 16, 32] here",
    )


def test_a_warm_start_from_another_network_is_refused_at_once(call, finished, tmp_path):
    line = [
        "grpo",
        "running_sum",
        "--devices",
        1,
        "--warm-start.checkpoint",
        finished,
        "--run-dir",
        tmp_path / "new",
    ]
    assert_one_sentence(call(train, *line), "trained another network", "--policy flags")
    assert not (tmp_path / "new").exists()


def refuse(*_, **__):
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_a_full_disk_at_the_start_is_said(call, tmp_path, monkeypatch):
    monkeypatch.setattr("agentic_rl.records.atomic_files.open", refuse, raising=False)
    assert_one_sentence(
        call(train, *QUICK, "--run-dir", tmp_path / "run"),
        "No space left on device",
        str(tmp_path / "run"),
    )


def test_a_disk_that_fills_up_stops_the_run_with_a_sentence(call, finished, tmp_path, monkeypatch):
    monkeypatch.setattr("agentic_rl.records.log.open", refuse, raising=False)
    code, _, err = call(train, *QUICK, "--run-dir", tmp_path / "run")
    assert code == 2 and "Traceback" not in err
    assert "No space left on device" in err.splitlines()[-1]


@pytest.mark.slow
def test_a_full_disk_costs_the_file_but_not_the_evaluation(call, copy, monkeypatch):
    monkeypatch.setattr(atomic_files, "writer", refuse)
    code, out, err = call(evaluate, copy, *EVALUATE)
    assert code == 2 and "pass@4" in out
    assert err.startswith("error: ") and "No space left on device" in err
    assert not (copy / "evaluation.json").exists()


EVALUATE = "--episodes 64 --attempts 4 --horizons 1 --devices 1".split()


def test_a_tiny_run_goes_all_the_way(finished):
    directory = RunDirectory.open(finished)
    assert [row["step"] for row in directory.metrics] == list(range(11))
    assert [row["step"] for row in directory.metrics if "eval_success" in row] == [0, 5, 10]
    assert directory.result["eval_success"] == directory.metrics[-1]["eval_success"]
    assert len(directory.episodes[0]["episodes"]) == 3


def test_tensorboard_shows_what_was_logged(finished):
    events = EventAccumulator(str(finished / "tiny"))
    events.Reload()
    logged = {
        row["step"]: row["eval_success"][0]
        for row in RunDirectory.open(finished).metrics
        if "eval_success" in row
    }
    assert {e.step: e.value for e in events.Scalars("eval/success")} == pytest.approx(logged)
    assert "learning_curves" in events.Tags()["images"]


def test_resuming_a_finished_run_says_so_and_changes_nothing(call, copy):
    before = contents(copy)
    code, out, err = call(train, "--resume", copy)
    assert (code, err) == (0, "") and f"{copy} is finished" in out
    assert contents(copy) == before


def test_a_run_is_watched_on_its_own_task_or_on_another_length(call, finished):
    for flags, turns in ([], 2), (["--task.num-turns", 3], 3):
        code, out, _ = call(watch, "--policy", finished, "--episodes", 2, *flags)
        episodes = out.rstrip("\n").split("\n\n")
        assert code == 0 and len(episodes) == 2
        assert all(
            len(episode.splitlines()) == 2 + turns and episode.startswith("start with")
            for episode in episodes
        )


def test_turns_that_the_expert_would_have_played_differently_say_how(call):
    code, out, _ = call(
        watch, "running_sum", "--policy", "random", "--task.modulus", 3, "--task.num-turns", 4
    )
    turns = [line for line in out.splitlines() if "->" in line]
    assert code == 0 and len(turns) == 12
    for turn in turns:
        numbers = [
            int(n)
            for n in turn.replace("(expert: ", "")
            .replace(")", "")
            .replace("+", "")
            .replace("->", "")
            .split()
        ]
        assert numbers[2:] == (
            [numbers[2], right]
            if numbers[2] != (right := (numbers[0] + numbers[1]) % 3)
            else [right]
        )
    assert 0 < sum("expert" in turn for turn in turns) < 12


def test_the_expert_is_never_corrected(call):
    code, out, _ = call(watch, "running_sum", "--task.num-turns", 2)
    assert code == 0 and out.count("success, return 1.0") == 3 and "expert" not in out


def test_an_evaluation_shows_and_keeps_every_cell(call, copy):
    code, out, _ = call(evaluate, copy, *EVALUATE)
    assert code == 0 and "one seed, hence no intervals" in out
    assert "per turn accuracy" in out
    sampled, greedy = json.loads((copy / "evaluation.json").read_text())
    assert (greedy["mode"], sampled["mode"], sampled["update"], sampled["num_turns"]) == (
        "greedy",
        "sampled",
        10,
        2,
    )
    assert sampled["pass@1"] == pytest.approx(sampled["success"])
    assert 0 < sampled["pass@1"] < sampled["pass@2"] < sampled["pass@4"] and "pass@1" not in greedy
    assert f"{sampled['pass@2']:.3f}" in out and f"{greedy['return']:.3f}" in out


@pytest.mark.slow
def test_a_mixture_trains_and_is_evaluated_by_task(call, tmp_path):
    sizes = [flag.replace("--task.", "--task.running-sum.") for flag in TINY]
    code, out, _ = call(
        train, "grpo", "running_sum+key_door", "--quick", *sizes, "--run-dir", tmp_path / "both"
    )
    assert code == 0 and "key_door: 52 tokens" in out
    code, out, _ = call(
        evaluate,
        tmp_path / "both",
        "--devices",
        "1",
        "--episodes",
        "8",
        "--attempts",
        "4",
        "--horizons",
        "1",
        "--shifts",
    )
    records = json.loads((tmp_path / "both" / "evaluation.json").read_text())
    cells = {(r["task"], r["horizon"]) for r in records}
    assert code == 0 and cells == {
        ("running_sum", "1x"),
        ("running_sum", "renamed"),
        ("key_door", "1x"),
        ("key_door", "renamed"),
        ("key_door", "other rule"),
    }
    assert_one_sentence(
        call(watch, "--policy", tmp_path / "both"), "name one of its tasks: key_door, running_sum"
    )


def test_a_horizon_beyond_the_context_is_refused_before_anything_is_evaluated(
    call, copy, monkeypatch
):
    monkeypatch.delattr(evaluate.Programs, "evaluate")
    assert_one_sentence(
        call(evaluate, copy, "--horizons", "1,1000"), "6002 tokens", "shorter horizon"
    )


def test_runs_are_compared_finished_or_not(call, finished, copy, tmp_path):
    (copy / "result.json").unlink()
    code, out, _ = call(compare, finished, copy, "--out", tmp_path / "out")
    lines = [line.split() for line in out.splitlines()]
    last = RunDirectory.open(finished).metrics[-1]
    (tiny,) = [line for line in lines if line[:1] == ["tiny"]]
    assert code == 0 and "(unfinished)" in next(line for line in lines if line[:1] == ["copy"])
    assert "the learner" in out and "GRPO" in tiny and "group_relative" not in out
    assert f"{last['eval_success'][0]:.3f}" in tiny and f"{last['env_steps'][0]:,}" in tiny
    files = ["curves.csv", "learning_curves.png", "learning_curves.svg", "seeds", "table.md"]
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == files
    assert f"each seed's curves: tensorboard --logdir {tmp_path / 'out' / 'seeds'}\n" in out
    runs = EventMultiplexer().AddRunsFromDirectory(str(tmp_path / "out" / "seeds")).Reload().Runs()
    assert sorted(runs) == ["copy/seed0", "tiny/seed0"]


def test_a_run_whose_name_is_a_number_is_compared(call, finished, tmp_path):
    path = shutil.copytree(finished, tmp_path / "7")
    code, out, _ = call(compare, path, "--out", tmp_path / "out")
    assert code == 0 and str(path) in out
    assert str(path) in (tmp_path / "out" / "curves.csv").read_text()


def test_a_split_named_twice_is_measured_once():
    variants = {"": {"1x": None}}
    once = evaluate.conditions(evaluate.Command("run", splits="test"), variants)
    twice = evaluate.conditions(evaluate.Command("run", splits="test,test"), variants)
    assert once == twice


def test_a_directory_given_as_a_dot_is_shown_by_its_name(call, copy, monkeypatch):
    monkeypatch.chdir(copy)
    flags = "--episodes 16 --attempts 2 --horizons 1 --devices 1".split()
    code, out, _ = call(evaluate, ".", *flags)
    assert code == 0 and out.startswith("copy after 10 updates; ")


def test_runs_of_different_tasks_are_said_not_to_compare(call, finished, copy):
    stored = json.loads((copy / "config.json").read_text())
    stored["config"]["task"]["num_turns"] = 7
    (copy / "config.json").write_text(json.dumps(stored))
    (copy / "metrics.jsonl").unlink()
    code, out, _ = call(compare, finished, copy)
    assert (
        code == 0
        and "different tasks" in out
        and "num_turns=7" in out
        and "copy has no logged updates" in out
    )


def test_a_loss_that_is_not_finite_stops_the_run_with_a_sentence(call, finished, tmp_path):
    path = tmp_path / "run"
    code, _, err = call(
        train, *QUICK, "--algorithm.optimizer.learning-rate", "1e30", "--run-dir", path
    )
    sentence = err.splitlines()[-1]
    assert code == 2 and "Traceback" not in err
    assert (
        sentence.startswith("error: loss became nan at update ")
        and f"{path}/checkpoints/0" in sentence
    )
    assert (path / "checkpoints" / "0").is_dir() and RunDirectory.open(path).result is None


@pytest.mark.parametrize("program", [train, watch, evaluate, compare])
def test_help_explains_every_flag(call, program):
    names = {train: ["grpo", "running_sum"], watch: ["running_sum"]}
    code, out, err = call(program, *names.get(program, []), "--help")
    assert (code, err) == (0, "") and "--" in out and "agentic_rl.config" not in out


@pytest.mark.slow
def test_a_run_that_ctrl_c_stopped_twice_ends_as_if_it_had_not_been(tmp_path):
    lengths = "--updates 60 --chunk 2 --warm-start.updates 2 --eval-every 10 --checkpoint-every 20"
    line = ["grpo", "running_sum", *TINY, *lengths.split()]
    whole, torn = tmp_path / "whole", tmp_path / "torn"
    assert start(*line, "--run-dir", whole).wait(300) == 0
    for rows, arguments in (3, [*line, "--run-dir", torn]), (20, ["--resume", torn]):
        process = start(*arguments)
        wait_for_rows(torn / "metrics.jsonl", rows, process)
        process.send_signal(signal.SIGINT)
        assert process.wait(300) == 130 and not (torn / "result.json").exists()
    assert start("--resume", torn).wait(300) == 0
    rows = [
        [{k: v for k, v in row.items() if k != "time"} for row in RunDirectory.open(path).metrics]
        for path in (whole, torn)
    ]
    assert rows[0] == rows[1] and len(rows[0]) == 61


def start(*arguments):
    return subprocess.Popen(
        [sys.executable, "-m", "experiments.train", *map(str, arguments)],
        cwd=ROOT,
    )


def wait_for_rows(path, count, process):
    end = time.monotonic() + 240
    while not path.exists() or len(path.read_text().splitlines()) < count:
        assert process.poll() is None and time.monotonic() < end
        time.sleep(0.01)
