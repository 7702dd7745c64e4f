"""A whole run: its log, seeds, budgets, phases, and where it may start from."""

import os
import subprocess
import sys
from dataclasses import replace
from functools import cache

import chex
import jax
import numpy as np
import pytest

from agentic_rl.config import ConfigError
from agentic_rl.records.run_directory import RunDirectory
from agentic_rl.rollout import evaluate
from agentic_rl.training import learner, programs
from agentic_rl.training.phase import Diverged
from agentic_rl.training.programs import Programs
from agentic_rl.training.run import WarmStart
from agentic_rl.training.train import BUDGET, train
from tests.experiments.program_runs import QUICK
from tests.training.toy_run import (
    ALGORITHM,
    RUN,
    train_in,
    without_clocks,
)


def test_a_log_has_each_step_once_and_evaluates_when_asked(whole):
    entries = without_clocks(whole[0])
    assert [entry["step"] for entry in entries] == list(range(9))
    assert [entry["step"] for entry in entries if "eval_success" in entry] == [0, 4, 8]
    assert all(np.shape(entry["loss"]) == (2,) for entry in entries[1:])
    assert entries == [
        {k: v for k, v in entry.items() if k != "time"} for entry in whole[1].entries
    ]
    assert [whole[1].first, whole[1].last] == [entries[0], entries[-1]]


@cache
def alone(seed):
    return train(replace(RUN, seeds=1, seed=seed))


def test_a_seed_of_a_run_is_its_single_seed_run_up_to_rounding(whole):
    one = jax.tree.map(lambda x: x[1:], jax.device_get(whole[1].state))
    chex.assert_trees_all_close(one, jax.device_get(alone(RUN.seed + 1).state), rtol=0, atol=1e-6)
    returns = [result.entries[-1]["eval_return"] for result in (whole[1], alone(RUN.seed + 1))]
    assert returns[0][1] == returns[1][0]


@pytest.mark.slow
def test_as_users_compile_it_a_seed_of_a_run_is_its_single_seed_run_bitwise(tmp_path):
    environment = {k: v for k, v in os.environ.items() if k != "XLA_FLAGS"}

    def logged(seed, seeds):
        path = tmp_path / f"{seed}-{seeds}"
        words = [*QUICK, "--seed", str(seed), "--seeds", str(seeds), "--run-dir", str(path)]
        train_command = [sys.executable, "-m", "experiments.train", *words]
        subprocess.run(train_command, env=environment, check=True, capture_output=True)
        return without_clocks(path)

    both = logged(3, 2)
    for index in range(2):
        one = [{k: x[index : index + 1] for k, x in e.items() if k != "step"} for e in both]
        alone = [{k: x for k, x in e.items() if k != "step"} for e in logged(3 + index, 1)]
        assert one == alone


def test_seeds_are_different_runs(whole):
    kernel = np.asarray(whole[1].state.params["blocks_0"]["qkv"]["kernel"])
    assert np.abs(kernel[0] - kernel[1]).max() > 1e-3
    assert whole[1].entries[1]["loss"][0] != whole[1].entries[1]["loss"][1]


@pytest.mark.slow
def test_seeds_at_once_are_the_seeds_one_by_one_up_to_rounding(whole):
    at_once = train(replace(RUN, seeds_at_once=2))
    chex.assert_trees_all_close(
        jax.device_get(at_once.state), jax.device_get(whole[1].state), rtol=0, atol=1e-5
    )


def test_budgets_add_up_exactly_and_begin_with_the_warm_start(whole):
    entries, (turns, attempts) = whole[1].entries, (2, 16)
    assert (
        entries[0]["env_steps"] == [300 * turns] * 2 == entries[0]["expert_labels"]
    )  # 2 x 256 problems, of which 300 are new
    assert entries[0]["trained_tokens"] == [2 * 256 * turns] * 2 and entries[0][
        "generated_tokens"
    ] == [
        0,
        0,
    ]
    for step, entry in enumerate(entries):
        assert entry["env_steps"] == [300 * turns + step * attempts * turns] * 2
        assert entry["generated_tokens"] == [step * attempts * turns] * 2
        assert entry["trained_tokens"] == [512 * turns + step * attempts * turns] * 2
        assert entry["expert_labels"] == entries[0]["expert_labels"]
    assert all(type(x) is int for name in BUDGET if name != "flops" for x in entries[-1][name])


@pytest.fixture
def traces(monkeypatch):
    """Records who acts in each traced update, and the task of each traced evaluation."""
    counts = {"update": [], "evaluate": []}
    update, evaluator = learner.update, evaluate._evaluate

    def counted_update(setup, task, algorithm, *rest):
        counts["update"].append(type(algorithm.actor).__name__)
        return update(setup, task, algorithm, *rest)

    def counted_evaluate(*inputs):
        counts["evaluate"].append(inputs[4])
        return evaluator(*inputs)

    monkeypatch.setattr(learner, "update", counted_update)
    monkeypatch.setattr(evaluate, "_evaluate", counted_evaluate)
    yield counts


def test_each_program_is_traced_once(traces):
    run = replace(
        RUN, task=replace(RUN.task, modulus=3), eval_episodes=12
    )  # programs that no other test has traced
    params, run_programs = train(run).state.params, Programs(run)
    train(
        replace(
            run,
            seed=9,
            algorithm=replace(
                ALGORITHM, optimizer=replace(ALGORITHM.optimizer, learning_rate=1e-4)
            ),
        )
    )
    for temperature in (0.0, 1.0):
        run_programs.evaluate(params, temperature=temperature)
        run_programs.evaluate(params, run.task.longer(2), temperature=temperature)
    assert sorted(traces["update"]) == ["Expert", "Learner"]
    assert traces["evaluate"] == [run.task, run.task.longer(2)]


@pytest.mark.parametrize(
    "changes, flag",
    [
        ({"updates": 9}, "--updates (9)"),
        ({"eval_every": 3}, "--eval-every (3)"),
        ({"checkpoint_every": 5}, "--checkpoint-every (5)"),
        ({"warm_start": WarmStart(updates=3)}, "--warm-start.updates (3)"),
    ],
)
def test_counts_that_are_no_multiple_of_a_chunk_are_refused(changes, flag):
    with pytest.raises(ConfigError) as refused:
        replace(RUN, **changes)
    assert flag in str(refused.value) and "--chunk (2)" in str(refused.value)


def test_a_run_that_diverges_says_where_and_names_the_last_good_checkpoint(tmp_path):
    wild = replace(
        RUN,
        algorithm=replace(ALGORITHM, optimizer=replace(ALGORITHM.optimizer, learning_rate=3e38)),
    )
    with pytest.raises(Diverged) as refused:
        train_in(tmp_path / "run", wild)
    assert "loss became nan at update 2 (seed 3)" in str(refused.value)
    assert f"{tmp_path}/run/checkpoints/0" in str(refused.value)
    assert [entry["step"] for entry in RunDirectory.open(tmp_path / "run").metrics] == [0]


def test_a_warm_start_that_diverges_says_so():
    with pytest.raises(Diverged, match="became nan at update .*--warm-start.learning-rate"):
        train(replace(RUN, warm_start=replace(RUN.warm_start, learning_rate=3e38)))


def test_a_run_can_start_from_the_weights_of_another(whole):
    path, first = str(whole[0]), jax.device_get(whole[1].state)
    stopped = train(
        replace(RUN, warm_start=WarmStart(checkpoint=path), seeds=1), should_stop=lambda: True
    )
    start = jax.device_get(stopped.state)
    chex.assert_trees_all_equal(start.params, jax.tree.map(lambda x: x[:1], first.params))
    assert (
        start.step == 0 and start.drawn == first.drawn[0]
    )  # the schedule starts anew, the problems go on
    assert stopped.entries[0]["env_steps"] == whole[1].entries[-1]["env_steps"][:1]
    with pytest.raises(ConfigError, match="2 seeds and the run wants 3"):
        train(replace(RUN, warm_start=WarmStart(checkpoint=path), seeds=3))
    with pytest.raises(ConfigError, match="trained another network"):
        train(
            replace(RUN, warm_start=WarmStart(checkpoint=path), policy=replace(RUN.policy, mlp=16))
        )


def test_no_problem_is_drawn_twice_not_even_by_the_warm_start(whole):
    assert list(whole[1].state.drawn) == [2 * 256 + 8 * 4] * 2 and list(whole[1].state.step) == [
        8,
        8,
    ]


def test_every_phase_is_named_and_compiling_cannot_lose_anything(tmp_path):
    reports = []
    programs._program.cache_clear()
    evaluate.evaluator.cache_clear()
    train_in(tmp_path / "run", replace(RUN, checkpoint_every=2), on_progress=reports.append)
    phases = [
        p.phase
        for p, before in zip(reports, [None, *reports])
        if before is None or p.phase != before.phase
    ]
    assert phases == [
        "preparing",
        "compiling the warm start",
        "warm start",
        "compiling the evaluation",
        "evaluating",
        "rendering episodes",
        "compiling the updates",
        "training",
        "evaluating",
        "training",
        "evaluating",
        "training",
        "saving",
        "rendering episodes",
    ]
    assert all(p.loses_nothing for p in reports if p.phase.startswith(("compiling", "rendering")))
    assert [(p.step, p.seconds_left >= 0) for p in reports if p.phase == "training"] == [
        (0, False),
        (2, True),
        (4, True),
        (6, True),
        (8, True),
    ]
    assert not any(
        p.loses_nothing for p in reports if p.phase in ("training", "warm start", "saving")
    )
    assert [p.loses_nothing for p in reports if p.phase == "evaluating"] == [
        True,
        False,
        False,
    ]  # the first one's state is kept
