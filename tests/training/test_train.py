"""A whole run: its seeds, its budgets, and that a kill, an interruption or a resume leaves no trace in its numbers."""

import gc
import json
import os
import signal
import subprocess
import sys
import tracemalloc
from dataclasses import replace
from functools import cache

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from agentic_rl import algorithms
from agentic_rl.config import ConfigError, to_json
from agentic_rl.envs.running_sum import RunningSum
from agentic_rl.optimizer import Adam
from agentic_rl.policy.transformer import Policy
from agentic_rl.records.run_directory import RunDirectory
from agentic_rl.rollout import evaluate
from agentic_rl.training import learner, programs
from agentic_rl.training.programs import Programs
from agentic_rl.training.run import Run, WarmStart, load
from agentic_rl.training.stalls import Stalls
from agentic_rl.training.train import BUDGET, Diverged, train

ROW = replace(
    algorithms.GRPO,
    problems=4,
    attempts=4,
    minibatches=2,
    epochs=1,
    optimizer=Adam(learning_rate=1e-2, warmup=0),
)
RUN = Run(
    RunningSum(num_turns=2, modulus=2, reward="per_turn"), ROW, Policy(width=8, layers=1, heads=2, mlp=8),
    WarmStart(updates=2, num_demos=300), updates=8, chunk=2, eval_every=4, eval_episodes=8, checkpoint_every=4,
    devices=2, micro_batch=0, seeds=2, seed=3, seeds_at_once=1,
)  # fmt: skip
LONG_START = replace(RUN, warm_start=replace(RUN.warm_start, updates=4))


def create(path, run=RUN) -> RunDirectory:
    return RunDirectory.create(path, to_json(run))


def trained(path, run=RUN, **options):
    with create(path, run) as directory:
        return train(run, directory, **options)


def without_clocks(path) -> list[dict]:
    """The rows of a run's log, without the time at which each was written."""
    return [
        {k: v for k, v in row.items() if k not in ("time", "seconds")}
        for row in RunDirectory.open(path).metrics
    ]


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """The directory of an uninterrupted run, and its result."""
    path = tmp_path_factory.mktemp("runs") / "whole"
    return path, trained(path)


def assert_same_run(path, result, whole):
    """Bitwise the same weights and optimizer as of the whole run, and the same log."""
    chex.assert_trees_all_equal(jax.device_get(result.state), jax.device_get(whole[1].state))
    assert without_clocks(path) == without_clocks(whole[0])
    chex.assert_trees_all_equal(load(str(path))[1], jax.device_get(whole[1].state))


def test_a_log_has_each_step_once_and_evaluates_when_asked(whole):
    rows = without_clocks(whole[0])
    assert [row["step"] for row in rows] == list(range(9))
    assert [row["step"] for row in rows if "eval_success" in row] == [0, 4, 8]
    assert all(np.shape(row["loss"]) == (2,) for row in rows[1:])
    assert rows == [{k: v for k, v in row.items() if k != "time"} for row in whole[1].entries]
    assert [whole[1].first, whole[1].last] == [rows[0], rows[-1]]


@cache
def alone(seed):
    return train(replace(RUN, seeds=1, seed=seed))


@pytest.mark.parametrize("index", [0, 1])
def test_each_seed_of_a_run_is_its_single_seed_run_bitwise(whole, index):
    one = jax.tree.map(lambda x: x[index : index + 1], jax.device_get(whole[1].state))
    chex.assert_trees_all_equal(one, jax.device_get(alone(RUN.seed + index).state))
    assert (
        whole[1].entries[-1]["eval_return"][index]
        == alone(RUN.seed + index).entries[-1]["eval_return"][0]
    )


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
    rows, (turns, attempts) = whole[1].entries, (2, 16)
    assert (
        rows[0]["env_steps"] == [300 * turns] * 2 == rows[0]["expert_labels"]
    )  # 2 x 256 problems, of which 300 are new
    assert rows[0]["trained_tokens"] == [2 * 256 * turns] * 2 and rows[0]["generated_tokens"] == [
        0,
        0,
    ]
    for step, row in enumerate(rows):
        assert row["env_steps"] == [300 * turns + step * attempts * turns] * 2
        assert row["generated_tokens"] == [step * attempts * turns] * 2
        assert row["trained_tokens"] == [512 * turns + step * attempts * turns] * 2
        assert row["expert_labels"] == rows[0]["expert_labels"]
    assert all(type(x) is int for name in BUDGET if name != "flops" for x in rows[-1][name])


@pytest.fixture
def traces(monkeypatch):
    """Who acts in each update that is traced, and the task of each evaluation."""
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
    params, machine = train(run).state.params, Programs(run)
    train(
        replace(
            run,
            seed=9,
            algorithm=replace(ROW, optimizer=replace(ROW.optimizer, learning_rate=1e-4)),
        )
    )
    for temperature in (0.0, 1.0):
        machine.evaluate(params, temperature=temperature)
        machine.evaluate(params, run.task.longer(2), temperature=temperature)
    assert sorted(traces["update"]) == ["Expert", "Learner"]
    assert traces["evaluate"] == [run.task, run.task.longer(2)]


@pytest.mark.parametrize(
    "changes, flag", [({"updates": 9}, "--updates (9)"), ({"eval_every": 3}, "--eval-every (3)")]
    + [({"checkpoint_every": 5}, "--checkpoint-every (5)"), ({"warm_start": WarmStart(updates=3)}, "--warm-start.updates (3)")],
)  # fmt: skip
def test_counts_that_are_no_multiple_of_a_chunk_are_refused(changes, flag):
    with pytest.raises(ConfigError) as refused:
        replace(RUN, **changes)
    assert flag in str(refused.value) and "--chunk (2)" in str(refused.value)


@pytest.mark.parametrize("after", [2, 4])  # checkpoints are due at 4 and 8
def test_an_interrupted_run_saves_its_state_and_goes_on_as_if_it_had_not_been(
    tmp_path, whole, after
):
    steps = []
    stopped = trained(
        tmp_path / "run",
        on_progress=steps.append,
        should_stop=lambda: ("training", after) in [(p.phase, p.step) for p in steps],
    )
    assert not stopped.finished and stopped.entries[-1]["step"] == after + 2
    assert (
        RunDirectory.open(tmp_path / "run").restore(jax.device_get(stopped.state))[0] == after + 2
    )
    result = trained(tmp_path / "run")
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

def log_until(row):
    log(row)
    if row["step"] == 7 and when == "between saves":
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


@pytest.mark.parametrize("when, newest, logged", [("between saves", 4, 7), ("during a save", 0, 4)])
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
    assert_same_run(path, trained(path), whole)


def test_a_run_that_diverges_says_where_and_names_the_last_good_checkpoint(tmp_path):
    wild = replace(
        RUN, algorithm=replace(ROW, optimizer=replace(ROW.optimizer, learning_rate=3e38))
    )
    with pytest.raises(Diverged) as said:
        trained(tmp_path / "run", wild)
    assert "loss became nan at update 2 (seed 3)" in str(said.value)
    assert f"{tmp_path}/run/checkpoints/0" in str(said.value)
    assert [row["step"] for row in RunDirectory.open(tmp_path / "run").metrics] == [0]


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


def test_an_interrupted_warm_start_saves_its_state_and_goes_on_as_if_it_had_not_been(
    tmp_path, whole
):
    seen = []
    stopped = trained(
        tmp_path / "run",
        LONG_START,
        on_progress=seen.append,
        should_stop=lambda: "warm start" in [p.phase for p in seen],
    )
    assert (stopped.finished, stopped.state, stopped.last) == (False, None, {})
    left = RunDirectory.open(tmp_path / "run")
    assert left.metrics == [] and [p.name for p in left.warm_start.folder.iterdir()] == ["2"]
    result, ended = trained(tmp_path / "run", LONG_START), trained(tmp_path / "whole", LONG_START)
    chex.assert_trees_all_equal(jax.device_get(result.state), jax.device_get(ended.state))
    assert without_clocks(tmp_path / "run") == without_clocks(tmp_path / "whole")
    assert (
        result.first["trained_tokens"] == [4 * 256 * 2] * 2
        and result.first["expert_labels"] == [300 * 2] * 2
    )


def test_a_run_whose_warm_start_was_finished_does_not_clone_again(tmp_path, whole):
    path, seen = tmp_path / "run", []
    stopped = trained(
        path, should_stop=lambda: "warm start" in [p.phase for p in seen], on_progress=seen.append
    )
    assert (
        stopped.state is None and RunDirectory.open(path).warm_start.folder.joinpath("2").is_dir()
    )
    seen.clear()
    result = trained(path, on_progress=seen.append)
    assert [(p.step, p.total) for p in seen if p.phase == "warm start"] == [(2, 2)]
    assert_same_run(path, result, whole)


def test_episodes_before_and_after_training_are_kept_once(whole, tmp_path):
    logged = RunDirectory.open(whole[0]).episodes
    assert [(row["step"], len(row["episodes"])) for row in logged] == [(0, 3), (8, 3)]
    assert all(
        text.startswith("start with ") and ", return " in text
        for row in logged
        for text in row["episodes"]
    )
    seen = []
    path = tmp_path / "run"
    trained(
        path,
        should_stop=lambda: ("training", 4) in seen,
        on_progress=lambda p: seen.append((p.phase, p.step)),
    )
    assert [row["step"] for row in RunDirectory.open(path).episodes] == [0]
    for _ in range(2):  # the second time nothing is left to train
        trained(path)
        assert [row["episodes"] for row in RunDirectory.open(path).episodes] == [
            row["episodes"] for row in logged
        ]


def test_every_phase_is_named_and_all_is_compiled_while_nothing_can_be_lost(tmp_path):
    told = []
    programs._program.cache_clear()
    evaluate.evaluator.cache_clear()
    trained(tmp_path / "run", replace(RUN, checkpoint_every=2), on_progress=told.append)
    phases = [
        p.phase
        for p, before in zip(told, [None, *told])
        if before is None or p.phase != before.phase
    ]
    assert phases == [
        "preparing", "compiling the warm start", "warm start", "compiling the evaluation", "evaluating", "rendering episodes",
        "compiling the updates", "training", "evaluating", "training", "evaluating", "training", "saving", "rendering episodes",
    ]  # fmt: skip
    assert all(p.loses_nothing for p in told if p.phase.startswith(("compiling", "rendering")))
    assert [(p.step, p.seconds_left >= 0) for p in told if p.phase == "training"] == [
        (0, False),
        (2, True),
        (4, True),
        (6, True),
        (8, True),
    ]
    assert not any(p.loses_nothing for p in told if p.phase in ("training", "warm start", "saving"))
    assert [p.loses_nothing for p in told if p.phase == "evaluating"] == [
        True,
        False,
        False,
    ]  # the first one's state is kept


class Instant(Programs):
    """A machine whose updates take no time: 50 numbers for each."""

    def fresh_params(self):
        return {}

    def init(self, *inputs):
        return learner.State({}, (), (), (), jnp.zeros(1, int), jnp.zeros(1, int))

    def compile_updates(self, *inputs):
        pass

    def episodes(self, params):
        return []

    def chunks(self, algorithm, total, state, step):
        names = [*BUDGET, "loss", "gradient_norm", *(f"metric{i}" for i in range(43))]
        while step < total:
            step += self.run.chunk
            yield (
                step,
                state,
                {name: np.random.default_rng(step).random((1, self.run.chunk)) for name in names},
            )


def test_the_rows_of_a_long_run_do_not_stay_in_memory(tmp_path, monkeypatch):
    sizes = []

    def measure(progress):
        if progress.phase == "training" and progress.step in (200, 900):
            gc.collect()
            sizes.append(tracemalloc.get_traced_memory()[0])

    monkeypatch.setattr("agentic_rl.training.train.Programs", Instant)
    monkeypatch.setattr(Stalls, "look", lambda self, rows: [])
    run = replace(
        RUN,
        updates=900,
        chunk=100,
        eval_every=900,
        checkpoint_every=900,
        warm_start=WarmStart(),
        seeds=1,
    )
    with create(tmp_path / "run", run) as directory:
        monkeypatch.setattr(directory, "resume", lambda template: None)
        monkeypatch.setattr(directory, "save", lambda step, state: None)
        monkeypatch.setattr(directory._tensorboard, "add_entry", lambda row: None)
        tracemalloc.start()
        result = train(run, directory, measure, evaluates=False)
        tracemalloc.stop()
    assert sizes[1] - sizes[0] < 300_000  # 700 rows of 50 numbers are 2 MB
    assert result.first["step"] == 0 and result.last["step"] == 900 and len(result.entries) == 901
