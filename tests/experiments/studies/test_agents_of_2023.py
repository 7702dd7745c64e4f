"""Failure modes are counted as they are defined, and each rule gives each of its verdicts."""

import itertools

import numpy as np
import pytest

from agentic_rl import tokens
from agentic_rl.config import ConfigError
from agentic_rl.envs.todo import Todo
from experiments.harness.failure_modes import MODES, after_early_error, off_goal, ratio, repeats
from experiments.reports import figures, sweep
from experiments.studies.agents_of_2023 import LOOPS, MORE, RL, SUPERVISED, AgentsOf2023

SEEDS = range(5)


def test_an_action_repeated_in_the_same_state_of_the_work_is_a_loop():
    action = np.array([[[7], [8], [7], [7], [7]]])
    work = np.array([[[0], [0], [0], [1], [1]]])
    acts = np.array([[True, True, True, True, True]])
    assert repeats(action, work, acts).tolist() == [[False, False, True, False, True]]
    assert repeats(action, work, acts & [True, True, False, True, True]).tolist() == [
        [False, False, False, False, True]
    ]


def test_work_on_an_item_that_the_goal_does_not_need_is_drift():
    action = np.array([[[tokens.ENTITY], [tokens.ENTITY + 1], [tokens.DONE]]])
    needed = np.array([[[True, False]] * 3])
    assert off_goal(Todo(num_items=2), action, needed).tolist() == [[False, True, False]]


def test_failure_after_an_early_error_is_compared_with_the_rest():
    is_played = np.ones((4, 4), bool)
    error = np.zeros((4, 4), bool)
    error[0, 1] = error[1, 2] = error[2, 3] = True  # the third comes in the second half
    success = np.array([False, True, True, True])
    assert after_early_error(error, is_played, success) == pytest.approx(0.5 - 0.0)
    assert np.isnan(after_early_error(np.zeros_like(error), is_played, success))


def test_a_ratio_to_zero_is_nan():
    assert ratio(np.array([1, 2]), np.array([2, 4])) == 0.5 and np.isnan(
        ratio(np.zeros(2), np.zeros(2))
    )


def make_records(parts=0.97, short=0.9, long=0.4, more=0.45, rl=0.9):
    """Returns a record for each of two lengths, model, scaffold and seed."""

    def success(steps, model, scaffold):
        if scaffold == "once":
            return parts
        return {SUPERVISED: short if steps == 1 else long, MORE: more, RL: rl}[model]

    conditions = itertools.product((1, 4), (SUPERVISED, MORE, RL), ("once", *LOOPS), SEEDS)
    records = []
    for steps, model, scaffold, seed in conditions:
        wobble = 0.01 * (seed - 2) * (model == RL)
        record = dict(steps=steps, model=model, scaffold=scaffold, seed=seed)
        record["success"] = success(steps, model, scaffold) + wobble
        record["single tasks"] = parts + 0.002 * (seed - 2)
        records.append(record | dict.fromkeys(MODES, 0.1))
    return records


def outcomes(**changes):
    return [v.outcome for v in AgentsOf2023(steps=(1, 4)).verdicts(make_records(**changes))]


def test_each_rule_gives_each_of_its_verdicts():
    assert outcomes() == ["supported"] * 5
    assert outcomes(parts=0.8)[0] == "falsified" and outcomes(parts=0.9)[0] == "inconclusive"
    assert outcomes(short=0.2)[1:3] == ["falsified"] * 2
    assert outcomes(more=0.99)[3] == "falsified" and outcomes(more=0.9)[3] == "inconclusive"
    assert (
        outcomes(short=0.99, long=0.98)[4] == "falsified"
        and outcomes(long=0.9)[4] == "inconclusive"
    )


def test_the_better_loop_is_chosen_for_each_seed():
    records = make_records()
    for r in records:
        if r["model"] == SUPERVISED and r["scaffold"] == LOOPS[r["seed"] % 2] and r["steps"] == 4:
            r["success"] = 0.95
    assert AgentsOf2023(steps=(1, 4)).verdicts(records)[4].outcome == "falsified"


@pytest.mark.parametrize(
    "flags, words",
    [
        (dict(steps=(1,)), "two steps or more"),
        (dict(steps=(0, 1)), "1 or more"),
        (dict(demos=-1), "0"),
    ],
)
def test_flags_out_of_range_are_refused(flags, words):
    with pytest.raises(ConfigError, match=words):
        AgentsOf2023(**flags)


def test_names_of_any_length_fit_the_legend():
    names = [
        f"{model}, {scaffold}"
        for model in ("supervised", "more supervision", "then RL")
        for scaffold in ("once", "babyagi", "autogpt")
    ]
    records = [
        dict(run=name, steps=turns, seed=s, success=0.5)
        for name in names
        for turns in (1, 4)
        for s in (0, 1)
    ]
    figure = sweep.figure(records, "steps", {"success": ""}, "run")
    figures.to_bytes(figure)
    legend, page = figure.legends[0].get_window_extent(), figure.bbox
    assert (
        page.x0 <= legend.x0
        and legend.x1 <= page.x1
        and figure.axes[0].get_window_extent().height > 0.4 * page.height
    )
