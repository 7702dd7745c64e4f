"""Rewards of steps: what the judge and the place pay, and each rule gives each of its verdicts."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from agentic_rl.config import ConfigError
from agentic_rl.rollout.actors import Expert
from agentic_rl.rollout.rollout import rollout
from experiments.harness import study
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


def records(gains=(0.1, 0.2, 0.3), skills=(0.1, 0.2, 0.3), misjudged=0.2, place=0.2, progress=0.5):
    """Of success, and of log odds, at each horizon; of the lake, where outcomes come to .5."""
    found = []
    for s in range(5):
        wobble = 0.01 * (s - 2)
        for turns, gain, skill in zip(HORIZONS, gains, skills, strict=True):
            for name, more in ((OUTCOME, 0.0), (PROCESS, 1.0), (MISJUDGED, None)):
                success = 0.4 + (
                    misjudged + wobble if more is None else (gain + wobble * turns / 4) * more
                )
                found.append(
                    dict(
                        task="running_sum",
                        turns=turns,
                        reward=name,
                        seed=s,
                        success=success,
                        log_odds=(skill + wobble * turns / 4) * (more or 0),
                    )
                )
        for name, success in ((OUTCOME, 0.5), (PLACE, place), (PROGRESS, progress)):
            found.append(
                dict(
                    task="frozen_lake",
                    turns=10,
                    reward=name,
                    seed=s,
                    success=success + wobble * (name != OUTCOME),
                    length=4.0 + (name == PLACE),
                )
            )
    return found


def outcomes(**changes):
    return [v.outcome for v in ProcessReward().verdicts(records(**changes))]


def test_each_rule_gives_each_of_its_verdicts():
    assert outcomes() == ["supported"] * 6
    assert (
        outcomes(
            gains=(-0.1, -0.2, -0.3),
            skills=(0, -0.2, -0.4),
            misjudged=-0.2,
            place=0.8,
            progress=0.3,
        )
        == ["falsified"] * 6
    )
    assert (
        outcomes(gains=(0, 0, 0), skills=(0, 0, 0), misjudged=0, place=0.5, progress=0.45)
        == ["inconclusive"] * 6
    )


def test_the_slope_is_by_doublings_of_the_horizon():
    own = [r for r in records(gains=(0.1, 0.3, 0.5)) if r["task"] == "running_sum"]
    assert slope(own, "success").mean() == pytest.approx(0.2)


def played(task, noise, **shape):
    return jax.jit(
        lambda: rollout(task, Expert(noise=noise), jax.random.key(0), jnp.arange(64), 2)
    )()


def test_a_judge_who_never_errs_pays_right_answers():
    made = played(SUM, 0.3)
    paid = np.asarray(Judged(0.25)(made).reward - made.reward)
    last, number, answer = (
        np.asarray(x) - 16
        for x in (made.observation[..., 0], made.observation[..., 1], made.action[..., 0])
    )
    np.testing.assert_array_equal(paid, 0.25 * ((last + number) % SUM.modulus == answer))


def test_a_judge_errs_as_often_as_asked_and_always_about_the_same():
    made = played(SUM, 0.5)
    wrong, known = np.asarray(misjudged_turns(made, 0.3)), {}
    for said, x in zip(
        np.concatenate([made.observation, made.action], -1).reshape(-1, 3).tolist(),
        wrong.ravel(),
        strict=True,
    ):
        assert known.setdefault(tuple(said), x) == x
    assert np.mean(list(known.values())) == pytest.approx(0.3, abs=4 * np.sqrt(0.21 / len(known)))
    paid = np.asarray(Judged(1.0, 0.3)(made).reward - made.reward)
    np.testing.assert_array_equal(paid, np.asarray(Judged(1.0)(made).reward - made.reward) != wrong)


def test_the_place_pays_what_it_is_worth_in_every_turn():
    made = played(LAKE, 0.3)
    alive = np.asarray(made.mask.any(-1))
    paid = np.asarray(Place(2.0)(made).reward - made.reward)
    worth = np.where(alive, made.potential, 0.0)
    np.testing.assert_allclose(paid[..., :-1], 2 * worth[..., 1:])
    assert not paid[..., -1].any() and worth.any() and not alive.all()


@pytest.mark.parametrize(
    "flags, words",
    [
        (dict(horizons=(8,)), "two numbers of turns"),
        (dict(accuracy=0.1), "above chance"),
        (dict(errors=1.5), "errors must be 0 to 1"),
        (dict(clone_updates=0), "clone_updates must be 1 or more"),
    ],
)
def test_what_cannot_be_asked_is_refused(flags, words):
    with pytest.raises(ConfigError, match=words):
        ProcessReward(**flags)


@pytest.mark.slow
def test_the_command_runs(study_folder):
    assert study.run(ProcessReward(), ["--quick", "--out", str(study_folder)]) == 0
    assert all(
        (study_folder / name).exists() for name in ("results.csv", "table.md", "process_reward.png")
    )
