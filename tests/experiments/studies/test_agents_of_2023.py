"""The agents of 2023: failures are counted as they are defined, and each rule gives each of its verdicts."""

import numpy as np
import pytest

from agentic_rl import tokens
from agentic_rl.config import ConfigError
from agentic_rl.envs.todo import Todo
from experiments.harness import study
from experiments.harness.failure_modes import MODES, after_early_error, off_goal, ratio, repeats
from experiments.reports import figures, sweep
from experiments.studies.agents_of_2023 import LOOPS, MORE, RL, SUPERVISED, AgentsOf2023

SEEDS = range(5)


def test_an_action_tried_before_in_the_same_state_of_the_work_is_a_loop():
    action = np.array([[[7], [8], [7], [7], [7]]])
    work = np.array([[[0], [0], [0], [1], [1]]])
    acts = np.array([[True, True, True, True, True]])
    assert repeats(action, work, acts).tolist() == [[False, False, True, False, True]]
    assert repeats(action, work, acts & [True, True, False, True, True]).tolist() == [
        [False, False, False, False, True]
    ]


def test_work_on_what_the_goal_does_not_need_is_drift_and_a_word_is_not():
    action = np.array([[[tokens.ENTITY], [tokens.ENTITY + 1], [tokens.DONE]]])
    wanted = np.array([[[True, False]] * 3])
    assert off_goal(Todo(num_items=2), action, wanted).tolist() == [[False, True, False]]


def test_failure_after_an_early_error_is_compared_with_failure_without():
    plays = np.ones((4, 4), bool)
    error = np.zeros((4, 4), bool)
    error[0, 1] = error[1, 2] = error[2, 3] = True  # the third comes in the second half
    success = np.array([False, True, True, True])
    assert after_early_error(error, plays, success) == pytest.approx(0.5 - 0.0)
    assert np.isnan(after_early_error(np.zeros_like(error), plays, success))


def test_the_ratio_of_nothing_is_no_number():
    assert ratio(np.array([1, 2]), np.array([2, 4])) == 0.5 and np.isnan(
        ratio(np.zeros(2), np.zeros(2))
    )


def records(parts=0.97, short=0.9, long=0.4, more=0.45, rl=0.9):
    """Of each steps, model, scaffold and seed."""

    def success(steps, model, scaffold):
        if scaffold == "once":
            return parts
        return {SUPERVISED: short if steps == 1 else long, MORE: more, RL: rl}[model]

    return [
        dict(steps=steps, model=model, scaffold=scaffold, seed=s, success=success(steps, model, scaffold) + 0.01 * (s - 2) * (model == RL))
        | {"single tasks": parts + 0.002 * (s - 2)} | dict.fromkeys(MODES, 0.1)
        for steps in (1, 4) for model in (SUPERVISED, MORE, RL) for scaffold in ("once", *LOOPS) for s in SEEDS
    ]  # fmt: skip


def outcomes(**changes):
    return [v.outcome for v in AgentsOf2023(steps=(1, 4)).verdicts(records(**changes))]


def test_each_rule_gives_each_of_its_verdicts():
    assert outcomes() == ["supported"] * 5
    assert outcomes(parts=0.8)[0] == "falsified" and outcomes(parts=0.9)[0] == "inconclusive"
    assert outcomes(short=0.2)[1:3] == ["falsified"] * 2
    assert outcomes(more=0.99)[3] == "falsified" and outcomes(more=0.9)[3] == "inconclusive"
    assert (
        outcomes(short=0.99, long=0.98)[4] == "falsified"
        and outcomes(long=0.9)[4] == "inconclusive"
    )


def test_a_length_s_best_loop_is_each_seed_s_own():
    made = records()
    for r in made:
        if r["model"] == SUPERVISED and r["scaffold"] == LOOPS[r["seed"] % 2] and r["steps"] == 4:
            r["success"] = 0.95
    assert AgentsOf2023(steps=(1, 4)).verdicts(made)[4].outcome == "falsified"


@pytest.mark.parametrize(
    "flags, words",
    [(dict(steps=(1,)), "two numbers"), (dict(steps=(0, 1)), "1 or more"), (dict(demos=-1), "0")],
)
def test_what_cannot_be_asked_is_refused(flags, words):
    with pytest.raises(ConfigError, match=words):
        AgentsOf2023(**flags)


def test_names_of_any_length_fit_the_legend():
    names = [
        f"{model}, {scaffold}"
        for model in ("supervised", "more supervision", "then RL")
        for scaffold in ("once", "babyagi", "autogpt")
    ]
    made = [
        dict(run=name, steps=turns, seed=s, success=0.5)
        for name in names
        for turns in (1, 4)
        for s in (0, 1)
    ]
    figure = sweep.figure(made, "steps", {"success": ""}, "run")
    figures.to_bytes(figure)
    legend, page = figure.legends[0].get_window_extent(), figure.bbox
    assert (
        page.x0 <= legend.x0
        and legend.x1 <= page.x1
        and figure.axes[0].get_window_extent().height > 0.4 * page.height
    )


@pytest.mark.slow
def test_the_command_runs(study_folder):
    assert study.run(AgentsOf2023(), ["--quick", "--out", str(study_folder)]) == 0
    assert all(
        (study_folder / name).exists()
        for name in ("results.csv", "table.md", "agents_of_2023.png", "failures.png")
    )
