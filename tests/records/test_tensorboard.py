"""TensorBoard shows groups of metrics, one line per run, and the settings that tell runs apart.

All is read back from the event files.
"""

from dataclasses import replace

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.backend.event_processing.event_multiplexer import EventMultiplexer
from tensorboardX.proto.plugin_hparams_pb2 import HParamsPluginData

from agentic_rl import algorithms
from agentic_rl.config import to_json
from agentic_rl.envs.running_sum import RunningSum
from agentic_rl.records import log
from agentic_rl.records.run_directory import RunDirectory
from agentic_rl.records.tensorboard.panels import learning_curves
from agentic_rl.records.tensorboard.tags import Clock, tag
from agentic_rl.records.tensorboard.writer import TensorBoard, open_writer, run_name, write_seeds
from agentic_rl.training.run import Run

TASK = RunningSum(num_turns=4)
GRPO = Run(TASK, algorithms.GRPO, seeds=2)


def entry(step: int, **metrics) -> dict:
    budget = {"env_steps": [100 * step, 300 * step], "trained_tokens": [10 * step, 10 * step]}
    return {"step": step, "success": [0.1, 0.3], "loss": [2.0, 4.0]} | budget | metrics


def evaluated(step: int) -> dict:
    return entry(step, eval_success=[0.2, 0.6], eval_return=[1.0, 2.0], credit_std=[1.0, 1.0])


def write(path, run=GRPO, steps=3, finished=False) -> None:
    with RunDirectory.create(path, to_json(run)) as directory:
        for step in range(steps):
            directory.log(evaluated(step))
        directory.log_episodes(0, ["before"])
        directory.log_episodes(steps, ["after"])
        if finished:
            directory.finish({})


def runs(folder) -> dict[str, dict]:
    """Returns the runs that `tensorboard --logdir FOLDER` finds, and their tags."""
    return EventMultiplexer().AddRunsFromDirectory(str(folder)).Reload().Runs()


def read(folder) -> EventAccumulator:
    events = EventAccumulator(str(folder))
    events.Reload()
    return events


def test_metrics_stand_in_groups_and_success_comes_first(tmp_path):
    write(tmp_path / "grpo")
    tags = runs(tmp_path)["grpo/grpo"]["scalars"]
    assert sorted({each.partition("/")[0] for each in tags}) == [
        "at_a_glance",
        "budget",
        "credit",
        "eval",
        "train",
    ]
    assert {
        "eval/success",
        "eval/return",
        "train/success",
        "train/loss",
        "credit/credit_std",
        "budget/env_steps",
    } <= set(tags)
    assert sorted(tags)[0] == "at_a_glance/success"
    for shown in ("at_a_glance/success", "eval/success"):
        assert [
            event.value for event in read(tmp_path / "grpo" / "grpo").Scalars(shown)
        ] == pytest.approx([0.4] * 3)


@pytest.mark.parametrize(
    "metric, shown",
    [
        ("a_metric_of_tomorrow", "train/a_metric_of_tomorrow"),
        ("eval_a_metric_of_tomorrow", "eval/a_metric_of_tomorrow"),
        ("key_door/success", "train/key_door/success"),
        ("eval_key_door/success", "eval/key_door/success"),
        ("key_door/credit_mean", "credit/key_door/credit_mean"),
        ("flops", "budget/flops"),
    ],
)
def test_a_metric_that_no_table_names_has_a_group_too(metric, shown):
    assert tag(metric) == shown


def test_a_run_is_one_line_with_a_short_name(tmp_path):
    for algorithm in ("grpo", "sft_fresh"):
        write(tmp_path / "runs" / "running_sum" / algorithm)
    write(tmp_path / "runs" / "ppo-running_sum-20261130-120000")
    assert list(runs(tmp_path / "runs" / "running_sum" / "grpo")) == ["grpo"]
    assert list(runs(tmp_path / "runs" / "ppo-running_sum-20261130-120000")) == ["ppo-running_sum"]
    assert sorted(runs(tmp_path / "runs" / "running_sum")) == ["grpo/grpo", "sft_fresh/sft_fresh"]
    assert len(runs(tmp_path / "runs")) == 3


def test_seeds_have_runs_only_where_they_were_asked_for(tmp_path):
    write(tmp_path / "grpo")
    for _ in range(2):  # the second time replaces the first
        write_seeds(tmp_path / "seeds", 5, RunDirectory.open(tmp_path / "grpo").entries())
    assert list(runs(tmp_path / "grpo")) == ["grpo"]
    assert sorted(runs(tmp_path / "seeds")) == ["seed5", "seed6"]
    assert [
        event.value for event in read(tmp_path / "seeds" / "seed6").Scalars("eval/success")
    ] == pytest.approx([0.6] * 3)


def settings_of(folder) -> dict:
    metadata = read(folder).summary_metadata
    assert (
        "_hparams_/experiment" not in metadata
    )  # else TensorBoard lists the settings of the first run only
    content = metadata["_hparams_/session_start_info"].plugin_data.content
    values = HParamsPluginData.FromString(content).session_start_info.hparams
    return {key: getattr(value, value.WhichOneof("kind")) for key, value in values.items()}


def test_hparams_have_short_names_and_no_class_paths(tmp_path):
    write(tmp_path / "grpo", replace(GRPO, seeds=2, devices=1), finished=True)
    assert settings_of(tmp_path / "grpo" / "grpo") == {
        "task": "running_sum",
        "num_turns": 4,
        "algorithm": "grpo",
        "credit": "group_relative",
        "aggregation": "sequence_mean",
        "learning_rate": pytest.approx(3e-4),
        "problems": 32,
        "attempts": 8,
        "seeds": 2,
    }


def test_a_clock_measures_chunks_by_the_times_of_their_entries():
    clock, seen = Clock(), {}
    for step in range(31):  # chunks of 10 updates in 5 seconds, whose entries are written at once
        seen[step] = clock.scalars(entry(step) | {"time": 5.0 * ((step + 9) // 10) + 0.001 * step})
    shown = {step: rates for step, rates in seen.items() if rates}
    assert sorted(shown) == [1, 11, 21]
    assert shown[21] == pytest.approx(
        {
            "time/seconds_per_update": 0.5,
            "time/env_steps_per_second": 800,
            "time/trained_tokens_per_second": 40,
        },
        rel=0.01,
    )


def test_a_clock_leaves_out_what_an_entry_lacks():
    clock = Clock()
    clock.scalars({"step": 0, "time": 0.0})
    assert clock.scalars(entry(10) | {"time": 5.0}) == {"time/seconds_per_update": 0.5}


def test_times_are_logged_beside_the_metrics(tmp_path, monkeypatch):
    times = iter(range(100))
    monkeypatch.setattr(
        log, "time", type("Fake", (), {"time": staticmethod(lambda: 2.0 * next(times))})
    )
    write(tmp_path / "grpo")
    assert [
        (e.step, e.value)
        for e in read(tmp_path / "grpo" / "grpo").Scalars("time/seconds_per_update")
    ] == [(1, 2.0), (2, 2.0)]


def test_resuming_replaces_views_of_older_versions_and_other_names(tmp_path):
    write(tmp_path / "old")
    run = (tmp_path / "old").rename(tmp_path / "new")
    for line in ("mean", "seed0"):
        with open_writer(run / "tensorboard" / line) as old:  # the folders of before
            old.add_scalar("loss", 9.0, 0)
    assert sorted(runs(run)) == ["old", "tensorboard/mean", "tensorboard/seed0"]
    view, entries = TensorBoard(run), RunDirectory.open(run)
    view.rewrite(entries.entries(), iter(entries.episodes))
    assert (
        list(runs(run)) == ["new"]
        and not (run / "tensorboard").exists()
        and not (run / "old").exists()
    )
    assert [event.step for event in read(run / "new").Scalars("train/loss")] == [0, 1, 2]


def test_a_view_that_is_written_anew_tells_its_times_again(tmp_path):
    view, entries = (
        TensorBoard(tmp_path / "grpo"),
        [entry(step) | {"time": 2.0 * step} for step in range(3)],
    )
    for each in entries:
        view.add_entry(each)
    view.rewrite(entries, [])
    assert [(e.step, e.value) for e in read(view.folder).Scalars("time/seconds_per_update")] == [
        (1, 2.0),
        (2, 2.0),
    ]


def test_the_figure_has_a_part_for_each_group_and_success_first():
    figure = learning_curves(evaluated(step) | {"time": 2.0 * step} for step in range(3))
    parts = {
        part.get_suptitle(): [
            panel.get_title().partition(":")[0] for panel in part.axes if panel.lines
        ]
        for part in figure.subfigs
    }
    assert list(parts) == [
        "Evaluation on unseen problems",
        "Training",
        "Credit",
        "Budget spent",
        "Time",
    ]
    assert parts["Evaluation on unseen problems"] == ["success", "return"]
    assert parts["Training"] == ["success", "loss"] and "seconds per update" in parts["Time"]
    assert all(panel.axison == bool(panel.lines) for part in figure.subfigs for panel in part.axes)


def test_the_figure_of_a_diverged_run_or_a_single_entry_can_be_drawn(tmp_path):
    for losses in ([], [2.0], [float("nan"), float("inf")]):
        entries = (
            {"step": step, "time": 0.0, "loss": [1.0, loss]} for step, loss in enumerate(losses)
        )
        figure = learning_curves(entries)
        figure.savefig(tmp_path / "figure.png")
        points = [
            line.get_marker() == "o"
            for part in figure.subfigs
            for panel in part.axes
            for line in panel.lines
        ]
        assert points == [len(losses) == 1] * 3 * bool(losses)


def test_a_run_is_called_after_its_directory(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert run_name(tmp_path / "my first run") == "my first run"
    assert run_name(tmp_path.__class__("")) == tmp_path.name


def test_a_pause_before_resuming_is_no_update_s_time(tmp_path):
    view, old = TensorBoard(tmp_path), [entry(i) | {"time": 2.0 * i} for i in range(3)]
    view.rewrite(old, [])
    for step in (3, 4):
        view.add_entry(entry(step) | {"time": 1000.0 + 2 * step})
    view.close()
    speed = read(view.folder).Scalars("time/seconds_per_update")
    assert [(e.step, e.value) for e in speed] == [(1, 2.0), (2, 2.0), (4, 2.0)]
