"""The costs of an update, and how much of the return its values explain."""

import re
from dataclasses import replace
from pathlib import Path

import jax.numpy as jnp
import numpy as np

from agentic_rl import algorithms, metrics
from agentic_rl.budgets import BUDGET
from agentic_rl.credit.returns import token_rewards
from agentic_rl.rollout.actors import Expert
from agentic_rl.training.update_metrics import explained_variance
from agentic_rl.values import from_state_values
from tests.training.toy_updates import (
    LENGTH,
    OTHERS,
    PPO,
    SMALL,
    TASK,
    WEIGHTS,
    play,
    update_once,
)


def test_the_page_of_metrics_explains_what_is_logged_and_nothing_else():
    page = Path("docs/metrics.md").read_text()
    lines = [line.split(" | ")[0] for line in page.splitlines() if line.startswith("| `")]
    explained = [name for line in lines for name in re.findall(r"`(\w+)`", line)]
    trajectory, _, _ = play()
    evaluated = [f"eval_{name}" for name in metrics.episode_metrics(trajectory)]
    _, log = update_once(PPO, reference=OTHERS)
    assert set(explained) == {*log, *BUDGET, *evaluated}


def test_fixed_demonstrations_are_paid_for_once():
    sft = replace(algorithms.SFT, **SMALL, actor=Expert(num_demos=12))
    first, log = update_once(sft)
    state, again = update_once(sft, step=first.step, drawn=first.drawn)
    _, third = update_once(sft, step=state.step, drawn=state.drawn)
    turns = (
        2 * 3
    )  # attempts x turns: a demonstration never leaves early, and an action is a digit and END
    assert [x["env_steps"] for x in (log, again, third)] == [8 * turns, 4 * turns, 0]
    assert [x["expert_labels"] for x in (log, again, third)] == [16 * turns, 8 * turns, 0]
    assert [x["trained_tokens"] for x in (log, again, third)] == [16 * turns] * 3
    assert log["generated_tokens"] == 0 and state.drawn == 16
    np.testing.assert_allclose(log["flops"], 6 * WEIGHTS * 16 * LENGTH, rtol=1e-6)


def test_dagger_pays_for_a_label_at_every_turn_the_policy_plays():
    dagger = replace(algorithms.DAGGER, **SMALL)
    trajectory = play(dagger)[0]
    turns = trajectory.mask.any(-1).sum()
    _, log = update_once(dagger)
    assert log["expert_labels"] == 2 * turns == log["trained_tokens"]  # a digit and END
    assert log["env_steps"] == turns < 16 * 3
    assert log["generated_tokens"] == trajectory.mask.sum()


def test_reinforcement_learning_pays_for_its_own_steps_and_no_labels():
    trajectory, _, _ = play()
    _, log = update_once(PPO, reference=OTHERS)
    turns, written = trajectory.mask.any(-1).sum(), trajectory.mask.sum()
    assert (log["env_steps"], log["generated_tokens"], log["expert_labels"]) == (turns, written, 0)
    assert log["trained_tokens"] == 2 * written  # two epochs
    played_tokens = 8 * 2 + turns * (1 + 3)  # each prompt once, then observations and actions
    trained = (
        16 * LENGTH * (6 * 2 + 2 * 2)
    )  # two epochs; forward passes of the critic and of the reference
    np.testing.assert_allclose(log["flops"], WEIGHTS * (2 * played_tokens + trained), rtol=1e-5)


def reward_to_go(trajectory):
    """Returns the undiscounted reward from each token's turn on, [N, G, T, A]."""
    return np.cumsum(np.asarray(trajectory.reward)[..., ::-1], -1)[..., ::-1, None].repeat(
        TASK.spec.action_length, -1
    )


def test_explained_variance_of_perfect_constant_and_wrong_critics():
    trajectory, _, _ = play()
    to_go = jnp.asarray(reward_to_go(trajectory))
    critics = (to_go, jnp.full_like(to_go, 3.0), -to_go)
    values = [
        from_state_values(before, token_rewards(trajectory), trajectory.mask, 1.0)
        for before in critics
    ]
    np.testing.assert_allclose(
        [explained_variance(v, trajectory.mask) for v in values], [1, 0, -3], atol=1e-5
    )


def test_explained_variance_is_zero_where_all_returns_are_alike():
    trajectory, value, _ = play()
    flat = from_state_values(value.before, jnp.zeros(trajectory.mask.shape), trajectory.mask, 1.0)
    assert explained_variance(flat, trajectory.mask) == 0


def test_an_update_logs_the_variance_that_its_critic_explains():
    trajectory, value, _ = play()
    _, log = update_once(PPO, reference=OTHERS)
    mask, to_go = np.asarray(trajectory.mask), reward_to_go(trajectory)
    error = to_go - np.asarray(value.before)
    np.testing.assert_allclose(
        log["explained_variance"], 1 - error[mask].var() / to_go[mask].var(), rtol=1e-4
    )
    assert "explained_variance" not in update_once(replace(algorithms.DAGGER, **SMALL))[1]
