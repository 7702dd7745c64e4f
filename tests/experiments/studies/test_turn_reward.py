"""Rewards of turns: what a call earns and which turn is credited with it, the two habits, and each rule gives each of its verdicts."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from agentic_rl import tokens
from agentic_rl.config import ConfigError
from agentic_rl.credit.group import LeaveOneOut
from agentic_rl.rollout.rollout import rollout
from agentic_rl.types import Value
from experiments.harness import study
from experiments.studies.turn_reward import (
    ARMS,
    GUESS,
    OUTCOME,
    CallCredit,
    Familiar,
    Hasty,
    TurnReward,
    is_call,
    lost,
    measure_tool_use,
)

CHANCES = (0.1, 0.5)


def records(left=0.01, use=0.99, merged=0.1, turn=0.2):
    """Of outcomes, which leave this use of .4 and come to a success of .5; and of rewards of calls, by which success is this much more."""
    found = []
    for s in range(5):
        wobble = 0.002 * (s - 2)
        for chance in CHANCES:
            for arm in ARMS:
                gain = {"outcome": 0.0, "merged": merged + wobble, "turn": turn - wobble}[
                    arm.split()[0]
                ]
                used = left + wobble if arm == OUTCOME else use + wobble
                found.append(
                    dict(familiar=chance, arm=arm, seed=s, began=0.4, use=used, success=0.5 + gain)
                )
    return found


def outcomes(**changes):
    return [v.outcome for v in TurnReward().verdicts(records(**changes))]


def test_each_rule_gives_each_of_its_verdicts():
    assert outcomes() == ["supported"] * 4
    assert outcomes(left=0.98, use=0.5, merged=-0.1, turn=-0.2) == ["falsified"] * 4
    assert outcomes(left=0.4, use=0.95, merged=0.0, turn=0.0) == ["inconclusive"] * 4


def test_the_tool_is_often_lost_if_half_of_the_seeds_lose_it_where_the_guess_is_best():
    at = lambda use: (
        lost(
            [
                dict(familiar=c, arm=OUTCOME, seed=s, use=x)
                for c in CHANCES
                for s, x in enumerate(use)
            ]
        ).outcome
    )  # noqa: E731
    assert (
        at([0.0, 0.0, 0.04, 0.9, 1.0]) == "supported"
        and at([0.0, 0.0, 0.1, 0.9, 1.0]) == "inconclusive"
    )
    assert at([0.96, 1.0, 0.99]) == "falsified" and at([0.94, 1.0, 0.99]) == "inconclusive"
    mixed = [
        dict(familiar=c, arm=OUTCOME, seed=s, use=float(c == 0.1))
        for c in CHANCES
        for s in range(5)
    ]
    assert lost(mixed).outcome == "supported"


@jax.jit
def rolled(task, actor):
    return rollout(task, actor, jax.random.key(0), jnp.arange(128), 4)


def played(haste=0.3, noise=0.5):
    return rolled(Familiar(familiar=0.3), Hasty(noise=noise, haste=haste))


def test_a_guess_is_right_with_its_chance_and_the_expert_always():
    guessed, asked = played(1.0, 0.0), played(0.0, 0.0)
    assert guessed.success.mean() == pytest.approx(0.3, abs=0.1) and not is_call(guessed).any()
    assert (guessed.action[:, :, 0, 1] == GUESS).all()
    assert asked.success.all() and is_call(asked)[..., 0].all() and not is_call(asked)[..., 1].any()


def test_a_call_is_the_word_a_key_and_the_end():
    some = played(0.0, 0.0)
    action = np.array(some.action)
    action[0, 0, 0] = [tokens.LOOKUP, tokens.value(3), tokens.END, tokens.PAD]  # no key
    action[1, 0, 0] = [tokens.LOOKUP, tokens.entity(3), tokens.WAIT, tokens.END]  # too long
    action[2, 0, 0] = [tokens.LOOKUP, tokens.entity(9), tokens.END, tokens.PAD]  # no such key
    np.testing.assert_array_equal(
        is_call(some._replace(action=action))[:4, 0, 0], [False, False, False, True]
    )


def test_credit_is_what_counts_minus_the_mean_of_the_other_attempts():
    some = played()
    key = some.action[:64, 0, 0, 1]
    some = some._replace(
        action=some.action.at[:64, 0, 0, 1].set(
            jnp.where(key == tokens.ENTITY, tokens.ENTITY + 1, key)
        )
    )
    call, right = (
        np.array(is_call(some)),
        np.array((some.action == some.label).all(-1) & some.mask.any(-1)),
    )
    earned, total = 0.2 * call + 0.3 * (call & right), np.array(some.reward).sum(-1)
    assert 0.1 < call.mean() < 0.9 and (call & ~right).any() and (call & right).any()
    nothing = Value(some.penalty, some.penalty, np.float32(1))
    for past in (0.0, 1.0):
        credit = np.array(CallCredit(format=0.2, hop=0.3, past=past)(some, nothing))
        for n, i, t in np.ndindex(8, 4, 2):
            counts = [
                total[n, j] + sum(earned[n, j, u] * (1.0 if u >= t else past) for u in range(2))
                for j in range(4)
            ]
            assert credit[n, i, t] == pytest.approx(
                counts[i] - np.mean(counts[:i] + counts[i + 1 :]), abs=1e-5
            )
    np.testing.assert_allclose(CallCredit()(some, nothing), LeaveOneOut()(some, nothing), atol=1e-6)


def test_use_counts_episodes_with_a_call_and_reading_those_that_asked_for_the_right_key():
    some = jax.tree.map(lambda x: x[None], played())
    call = np.array(is_call(some))
    right = call & np.array((some.action == some.label).all(-1))
    found = measure_tool_use(some)
    assert found["use"][0] == pytest.approx(call.any(-1).mean()) and found["success"][
        0
    ] == pytest.approx(np.mean(some.success))
    assert found["reading"][0] == pytest.approx(np.array(some.success)[right.any(-1)].mean())
    assert np.isnan(measure_tool_use(some._replace(action=0 * some.action))["reading"][0])


@pytest.mark.parametrize(
    "flags, words",
    [
        (dict(familiar=(0.1, 1.2)), "familiar must each be 0 to 1"),
        (dict(familiar=()), "familiar is one probability or several"),
        (dict(haste=-0.1), "haste must be 0 to 1"),
        (dict(noise=2.0), "noise must be 0 to 1"),
        (dict(turn_reward_weight=0.0), "turn_reward_weight must be above 0"),
        (dict(clone_updates=0), "clone_updates must be 1 or more"),
    ],
)
def test_what_cannot_be_asked_is_refused(flags, words):
    with pytest.raises(ConfigError, match=words):
        TurnReward(**flags)


@pytest.mark.slow
def test_the_command_runs(study_folder):
    assert study.run(TurnReward(), ["--quick", "--out", str(study_folder)]) == 0
    assert np.all(
        [(study_folder / name).exists() for name in ("results.csv", "table.md", "turn_reward.png")]
    )
