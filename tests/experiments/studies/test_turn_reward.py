"""What a call earns and which turn is credited with it; each rule gives each of its verdicts."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from agentic_rl import tokens
from agentic_rl.config import ConfigError
from agentic_rl.credit.group import LeaveOneOut
from agentic_rl.rollout.rollout import rollout
from agentic_rl.types import Value
from experiments.studies.turn_reward import (
    ARMS,
    GUESS,
    OUTCOME,
    CallCredit,
    Familiar,
    Hasty,
    TurnReward,
    is_call,
    judge_loss,
    measure_tool_use,
)

CHANCES = (0.1, 0.5)


def make_records(left=0.01, use=0.99, merged=0.1, turn=0.2):
    """Returns records of all arms.

    Outcomes alone have a use of `left` and a success of .5. Rewards of calls have a use of `use`,
    and a success that is higher by `merged` or `turn`.
    """
    records = []
    for s in range(5):
        wobble = 0.002 * (s - 2)
        gain = {"outcome": 0.0, "merged": merged + wobble, "turn": turn - wobble}
        for chance in CHANCES:
            for arm in ARMS:
                measured = dict(
                    began=0.4,
                    use=(left if arm == OUTCOME else use) + wobble,
                    success=0.5 + gain[arm.split()[0]],
                )
                records.append(dict(familiar=chance, arm=arm, seed=s) | measured)
    return records


def outcomes(**changes):
    return [v.outcome for v in TurnReward().verdicts(make_records(**changes))]


def test_each_rule_gives_each_of_its_verdicts():
    assert outcomes() == ["supported"] * 4
    assert outcomes(left=0.98, use=0.5, merged=-0.1, turn=-0.2) == ["falsified"] * 4
    assert outcomes(left=0.4, use=0.95, merged=0.0, turn=0.0) == ["inconclusive"] * 4


def loss_outcome(use):
    """Returns the first rule's outcome, from each seed's use by the chance of a guess."""
    records = [
        dict(familiar=chance, arm=OUTCOME, seed=seed, use=x)
        for chance, of_seeds in use.items()
        for seed, x in enumerate(of_seeds)
    ]
    return judge_loss(records).outcome


@pytest.mark.parametrize(
    "use, outcome",
    [
        ([0.0, 0.0, 0.04, 0.9, 1.0], "supported"),
        ([0.0, 0.0, 0.1, 0.9, 1.0], "inconclusive"),
        ([0.96, 1.0, 0.99], "falsified"),
        ([0.94, 1.0, 0.99], "inconclusive"),
    ],
)
def test_the_tool_is_lost_often_if_half_of_the_seeds_lose_it(use, outcome):
    assert loss_outcome({chance: use for chance in CHANCES}) == outcome


def test_the_tool_counts_as_lost_where_the_guess_is_best():
    assert loss_outcome({0.1: [1.0] * 5, 0.5: [0.0] * 5}) == "supported"


@jax.jit
def roll_out(task, actor):
    return rollout(task, actor, jax.random.key(0), jnp.arange(128), 4)


def play(haste=0.3, noise=0.5):
    return roll_out(Familiar(familiar=0.3), Hasty(noise=noise, haste=haste))


def test_a_guess_is_right_with_its_chance_and_the_expert_always():
    guessed, asked = play(1.0, 0.0), play(0.0, 0.0)
    assert guessed.success.mean() == pytest.approx(0.3, abs=0.1)
    assert not is_call(guessed).any()
    assert (guessed.action[:, :, 0, 1] == GUESS).all()
    assert asked.success.all()
    assert is_call(asked)[..., 0].all() and not is_call(asked)[..., 1].any()


def test_a_call_is_the_word_a_key_and_the_end():
    episodes = play(0.0, 0.0)
    action = np.array(episodes.action)
    action[0, 0, 0] = [tokens.LOOKUP, tokens.value(3), tokens.END, tokens.PAD]  # no key
    action[1, 0, 0] = [tokens.LOOKUP, tokens.entity(3), tokens.WAIT, tokens.END]  # too long
    action[2, 0, 0] = [tokens.LOOKUP, tokens.entity(9), tokens.END, tokens.PAD]  # no such key
    np.testing.assert_array_equal(
        is_call(episodes._replace(action=action))[:4, 0, 0], [False, False, False, True]
    )


def with_some_wrong_keys(episodes):
    """Replaces a key by the next one in the first half of the problems."""
    key = episodes.action[:64, 0, 0, 1]
    wrong = jnp.where(key == tokens.ENTITY, tokens.ENTITY + 1, key)
    return episodes._replace(action=episodes.action.at[:64, 0, 0, 1].set(wrong))


def test_credit_is_what_counts_minus_the_mean_of_the_other_attempts():
    episodes = with_some_wrong_keys(play())
    call = np.array(is_call(episodes))
    right = np.array((episodes.action == episodes.label).all(-1) & episodes.mask.any(-1))
    earned, total = 0.2 * call + 0.3 * (call & right), np.array(episodes.reward).sum(-1)
    assert 0.1 < call.mean() < 0.9 and (call & ~right).any() and (call & right).any()
    nothing = Value(episodes.penalty, episodes.penalty, np.float32(1))
    for past in (0.0, 1.0):
        credit = np.array(CallCredit(format=0.2, hop=0.3, past=past)(episodes, nothing))
        for n, i, t in np.ndindex(8, 4, 2):
            counts = [
                total[n, j] + sum(earned[n, j, u] * (1.0 if u >= t else past) for u in range(2))
                for j in range(4)
            ]
            others = np.mean(counts[:i] + counts[i + 1 :])
            assert credit[n, i, t] == pytest.approx(counts[i] - others, abs=1e-5)
    plain = LeaveOneOut()(episodes, nothing)
    np.testing.assert_allclose(CallCredit()(episodes, nothing), plain, atol=1e-6)


def test_use_counts_episodes_with_a_call_and_reading_the_right_calls():
    episodes = jax.tree.map(lambda x: x[None], play())
    call, success = np.array(is_call(episodes)), np.array(episodes.success)
    right = call & np.array((episodes.action == episodes.label).all(-1))
    numbers = measure_tool_use(episodes)
    assert numbers["use"][0] == pytest.approx(call.any(-1).mean())
    assert numbers["success"][0] == pytest.approx(success.mean())
    assert numbers["reading"][0] == pytest.approx(success[right.any(-1)].mean())
    without_calls = episodes._replace(action=0 * episodes.action)
    assert np.isnan(measure_tool_use(without_calls)["reading"][0])


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
def test_flags_out_of_range_are_refused(flags, words):
    with pytest.raises(ConfigError, match=words):
        TurnReward(**flags)
