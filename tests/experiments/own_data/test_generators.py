"""Rows that reasoning-gym draws are the same whoever draws them, or one sentence says why not."""

import os
import signal
import subprocess
import sys
import time

import jax
import jax.numpy as jnp
import pytest

from agentic_rl.config import ConfigError
from agentic_rl.envs.dataset import decode, encode
from agentic_rl.rollout.actors import Expert
from agentic_rl.rollout.rollout import rollout
from experiments.own_data import generators, qa_data

gym = pytest.importorskip("reasoning_gym")


def test_a_generator_becomes_a_task_that_its_own_scorer_agrees_with():
    name = "chain_sum"
    task, source = (
        qa_data.load(f"reasoning_gym:{name}:40"),
        gym.create_dataset(name, size=40, seed=0),
    )
    assert task.title == f"dataset(reasoning_gym:{name}, 40 pairs)"
    episodes = rollout(task, Expert(), jax.random.key(0), jnp.arange(16))
    answers = {decode(encode(row["question"])): row for row in source}
    for prompt, action in zip(episodes.prompt[:, 0].tolist(), episodes.action[:, 0, 0].tolist()):
        assert source.score_answer(decode(action), answers[decode(prompt)]) == 1.0
    assert episodes.success.all()


@pytest.mark.parametrize(
    "name", ["list_functions", "isomorphic_strings"]
)  # global random numbers, the order of sets
def test_rows_do_not_depend_on_who_draws_them(name, monkeypatch):
    alone = generators.draw(
        name, 40
    )  # of list_functions, rows 32 and 39 hold global random numbers
    monkeypatch.setattr(generators, "ROWS_PER_PROCESS", 20)
    monkeypatch.setattr(generators.os, "sched_getaffinity", lambda process: {0, 1}, raising=False)
    monkeypatch.setenv("PYTHONHASHSEED", "7")
    assert generators.draw(name, 40) == alone and list(alone) == list(range(1, 41))


SENTENCES = {
    "graph_color:2": "reasoning-gym's graph_color has no single text as an answer (row 1 has none);"
    " choose another generator.",
    "composite": "composite cannot be drawn as it is by default (AssertionError: Must specify at"
    " least one dataset)",
    "polynomial_multiplication:3": "has characters that have no token, ^ `, in 3 of 3 pairs",
    "arc_agi:20": "reasoning_gym:arc_agi is too long: the longest question has",
    "chain_sum:10:5": "There is no reasoning_gym:chain_sum:10:5: write reasoning_gym:NAME or"
    " reasoning_gym:NAME:SIZE, such as",
    "": "There is no reasoning_gym:: write reasoning_gym:NAME",
    "chain_sum:": "write reasoning_gym:NAME or",
    "chain_sum:many": "write reasoning_gym:NAME or",
    "chain_sum:0": "is a whole number from 1 to 1,000,000, not 0.",
    "chain_sum:9999999": "is a whole number from 1 to 1,000,000, not 9999999.",
    "chain_sums": "reasoning-gym has no generator called chain_sums (did you mean chain_sum?);"
    " choose one of: ab, acre,",
}


@pytest.mark.parametrize("source", SENTENCES)
def test_what_cannot_be_a_task_is_refused_in_a_sentence(source):
    with pytest.raises(ConfigError) as refused:
        qa_data.load(f"reasoning_gym:{source}")
    assert SENTENCES[source] in str(refused.value)


def test_a_name_that_there_is_not_is_refused_before_anything_is_drawn(capsys):
    with pytest.raises(ConfigError, match="did you mean graph_color"):
        qa_data.load("reasoning_gym:graph_colr")
    assert not capsys.readouterr().err


def test_a_process_that_dies_is_said(monkeypatch, tmp_path):
    (tmp_path / "dies.py").write_text("import os\nos._exit(7)\n")
    monkeypatch.setattr(generators, "WORKER", tmp_path / "dies.py")
    with pytest.raises(
        ConfigError, match="A process that drew rows of reasoning-gym's gcd ended with code 7."
    ):
        generators.draw("gcd", 2)


def test_ctrl_c_ends_drawing_and_its_processes():
    words = (
        "from experiments.cli import console; from experiments.own_data import generators; "
        "console.main(lambda _: generators.draw('knight_swap', 1000))"
    )
    process = subprocess.Popen([sys.executable, "-c", words], stderr=subprocess.PIPE, text=True)
    assert process.stderr.readline() == "drawing 1,000 rows of knight_swap ...\n"
    time.sleep(0.5)
    workers = [
        int(pid)
        for pid in subprocess.run(
            ["pgrep", "-P", str(process.pid)], capture_output=True, text=True
        ).stdout.split()
    ]
    process.send_signal(signal.SIGINT)
    assert process.wait(10) == 130 and process.stderr.read() == "stopped.\n"
    assert workers and not any(os.path.exists(f"/proc/{pid}") for pid in workers)


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(gym.factory.DATASETS))
def test_every_generator_loads_or_answers_in_a_sentence(name):
    try:
        task = qa_data.load(f"reasoning_gym:{name}:24", "spell")
    except ConfigError as refused:
        assert str(refused).endswith(".") and name in str(refused)
    else:
        assert len(task.pairs) == 24 and all(
            decode(encode(text)) == text.lower() for pair in task.pairs for text in pair
        )
