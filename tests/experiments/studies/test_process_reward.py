"""What the judge and the place pay, and each rule of the study gives each of its verdicts."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from agentic_rl.config import ConfigError
from agentic_rl.rollout.actors import Expert
from agentic_rl.rollout.rollout import rollout
from experiments.studies.process_reward import (
    LAKE,
    MISJUDGED,
    OUTCOME,
    PLACE,
    PROCESS,
    PROGRESS,
    SUM,
    Judged,
    Place,
    ProcessReward,
    misjudged_turns,
    slope,
)

HORIZONS = (4, 8, 16)


def make_records(
    gains=(0.1, 0.2, 0.3), skills=(0.1, 0.2, 0.3), misjudged=0.2, place=0.2, progress=0.5
):
    """Returns records of all arms and seeds.

    Args: gains, skills: gain in success and in log odds at each horizon by process rewards;
      misjudged: gain in success by misjudged ones; place, progress: success on the lake, where
      outcomes have a success of .5.
    """
    records = []
    for s in range(5):
        wobble = 0.01 * (s - 2)
        for turns, gain, skill in zip(HORIZONS, gains, skills, strict=True):
            more = wobble * turns / 4
            measured = {
                OUTCOME: (0.4, 0.0),
                PROCESS: (0.4 + gain + more, skill + more),
                MISJUDGED: (0.4 + misjudged + wobble, 0.0),
            }
            for name, (success, odds) in measured.items():
                conditions = dict(task="running_sum", turns=turns, reward=name, seed=s)
                records.append(conditions | dict(success=success, log_odds=odds))
        on_lake = {OUTCOME: 0.5, PLACE: place + wobble, PROGRESS: progress + wobble}
        for name, success in on_lake.items():
            conditions = dict(task="frozen_lake", turns=10, reward=name, seed=s)
            records.append(conditions | dict(success=success, length=4.0 + (name == PLACE)))
    return records


def outcomes(**changes):
    return [v.outcome for v in ProcessReward().verdicts(make_records(**changes))]


def test_each_rule_gives_each_of_its_verdicts():
    assert outcomes() == ["supported"] * 6
    worse = dict(gains=(-0.1, -0.2, -0.3), skills=(0, -0.2, -0.4), misjudged=-0.2)
    assert outcomes(**worse, place=0.8, progress=0.3) == ["falsified"] * 6
    same = dict(gains=(0, 0, 0), skills=(0, 0, 0), misjudged=0)
    assert outcomes(**same, place=0.5, progress=0.45) == ["inconclusive"] * 6


def test_the_slope_is_per_doubling_of_the_horizon():
    own = [r for r in make_records(gains=(0.1, 0.3, 0.5)) if r["task"] == "running_sum"]
    assert slope(own, "success").mean() == pytest.approx(0.2)


def play(task, noise):
    agent, numbers = Expert(noise=noise), jnp.arange(64)
    return jax.jit(lambda: rollout(task, agent, jax.random.key(0), numbers, 2))()


def test_a_judge_who_never_errs_pays_right_answers():
    episodes = play(SUM, 0.3)
    paid = np.asarray(Judged(0.25)(episodes).reward - episodes.reward)
    last, number = (np.asarray(episodes.observation[..., i]) - 16 for i in range(2))
    answer = np.asarray(episodes.action[..., 0]) - 16
    np.testing.assert_array_equal(paid, 0.25 * ((last + number) % SUM.modulus == answer))


def test_a_judge_errs_as_often_as_asked_and_always_about_the_same():
    episodes = play(SUM, 0.5)
    wrong, known = np.asarray(misjudged_turns(episodes, 0.3)), {}
    texts = np.concatenate([episodes.observation, episodes.action], -1).reshape(-1, 3).tolist()
    for text, is_wrong in zip(texts, wrong.ravel(), strict=True):
        assert known.setdefault(tuple(text), is_wrong) == is_wrong
    assert np.mean(list(known.values())) == pytest.approx(0.3, abs=4 * np.sqrt(0.21 / len(known)))
    paid = np.asarray(Judged(1.0, 0.3)(episodes).reward - episodes.reward)
    right = np.asarray(Judged(1.0)(episodes).reward - episodes.reward)
    np.testing.assert_array_equal(paid, right != wrong)


def test_the_place_pays_what_it_is_worth_in_every_turn():
    episodes = play(LAKE, 0.3)
    alive = np.asarray(episodes.mask.any(-1))
    paid = np.asarray(Place(2.0)(episodes).reward - episodes.reward)
    value = np.where(alive, episodes.potential, 0.0)
    np.testing.assert_allclose(paid[..., :-1], 2 * value[..., 1:])
    assert not paid[..., -1].any() and value.any() and not alive.all()


@pytest.mark.parametrize(
    "flags, words",
    [
        (dict(horizons=(8,)), "two numbers of turns"),
        (dict(accuracy=0.1), "above chance"),
        (dict(errors=1.5), "errors must be 0 to 1"),
        (dict(clone_updates=0), "clone_updates must be 1 or more"),
    ],
)
def test_flags_out_of_range_are_refused(flags, words):
    with pytest.raises(ConfigError, match=words):
        ProcessReward(**flags)
