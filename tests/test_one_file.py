"""Adding a task or a credit assignment touches one file: a new one, dropped into a copy of the package, is found, tested and used."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parents[1]
ECHO = '''"""Say the token that is shown."""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from agentic_rl import tokens
from agentic_rl.config import config
from agentic_rl.types import Spec, TimeStep


class State(NamedTuple):
    word: jax.Array
    turn: jax.Array


@config
class Echo:
    """1 for the same token."""

    num_words: int = 3

    @property
    def spec(self):
        return Spec(1, 1, 1, 1, tuple(range(tokens.ENTITY, tokens.ENTITY + self.num_words)))

    def reset(self, key):
        state = State(tokens.entity(jax.random.randint(key, (), 0, self.num_words)), jnp.int32(0))
        return state, TimeStep(state.word[None], jnp.float32(0), jnp.bool_(False), jnp.bool_(False))

    def prompt(self, state):
        return jnp.array([tokens.BOS])

    def step(self, key, state, action):
        right = action[0] == state.word
        return state._replace(turn=state.turn + 1), TimeStep(state.word[None], right.astype(jnp.float32), jnp.bool_(True), right)

    def expert(self, state):
        return state.word[None]

    def anchor(self, state):
        return state.word

    def potential(self, state):
        return jnp.where(state.turn == 0, 1.0, 0.0)

    def is_key(self, state):
        return state.turn == 0

    def longer(self, factor):
        return self

    def bounds(self):
        return 0.0, 1.0

    def chance(self):
        return 1 / self.num_words

    def render_prompt(self, prompt):
        return "say what is shown"

    def render_turn(self, observation, action):
        return f"{tokens.text(observation)} -> {tokens.text(action)}"
'''


@pytest.fixture
def copy(tmp_path):
    for folder in ("agentic_rl", "experiments", "tests"):
        shutil.copytree(
            HERE / folder, tmp_path / folder, ignore=shutil.ignore_patterns("__pycache__")
        )
    shutil.copy(HERE / "setup.cfg", tmp_path)
    return tmp_path


def run(copy, *command):
    return subprocess.run(
        [sys.executable, "-m", *command], cwd=copy, capture_output=True, text=True
    )


def test_a_new_file_is_a_new_task_that_keeps_the_contract_and_can_be_watched(copy):
    (copy / "agentic_rl" / "envs" / "echo.py").write_text(ECHO)
    tested = run(copy, "pytest", "-q", "-p", "no:xdist", "tests/envs/test_envs.py", "-k", "Echo")
    assert tested.returncode == 0 and "passed" in tested.stdout, tested.stdout[-2000:]
    watched = run(copy, "experiments.watch", "echo", "--episodes", "1")
    assert watched.returncode == 0 and "success, return 1.0" in watched.stdout, watched.stderr


MEDIAN = '''"""Credits that compare with the median."""

import jax.numpy as jnp
from jaxtyping import Array, Float

from agentic_rl.config import config
from agentic_rl.credit.group import Group, per_turn
from agentic_rl.credit.returns import episode_return
from agentic_rl.types import Trajectory, Value


@config
class AboveMedian(Group):
    """R - the median R of the group."""

    scale: float = 1.0

    def __call__(self, trajectory: Trajectory, value: Value) -> Float[Array, "N G T"]:
        """The return above the median, at each turn."""
        total = episode_return(trajectory)
        return self.scale * per_turn(total - jnp.median(total, axis=1, keepdims=True), trajectory)
'''


@pytest.mark.slow
def test_a_new_file_is_a_new_credit_that_is_tested_and_can_be_trained_with(copy):
    (copy / "agentic_rl" / "credit" / "median.py").write_text(MEDIAN)
    tested = run(
        copy,
        "pytest",
        "-q",
        "-p",
        "no:xdist",
        "tests/test_credit.py",
        "-k",
        "no_credit and (padding or order)",
    )
    assert tested.returncode == 0 and "passed" in tested.stdout, tested.stdout[-2000:]
    line = "grpo chain_pit --credit above_median --algorithm.credit.scale 2 --quick --task.num-turns 2 --devices 1 --run-dir run"
    trained = run(copy, "experiments.train", *line.split())
    assert trained.returncode == 0 and "success on unseen problems" in trained.stdout, (
        trained.stderr[-2000:]
    )
