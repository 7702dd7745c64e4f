"""The warm-start study starts from the success asked for, and its rules give each verdict."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from agentic_rl.config import ConfigError
from agentic_rl.rollout.actors import Expert
from agentic_rl.rollout.rollout import rollout
from experiments.studies.warm_start import ALGORITHMS, TASK, WarmStart, better, lead, noise, slope

BEGAN = {0.0: -4.0, 0.1: 1.0, 0.5: 2.0, 0.9: 4.0}  # log odds


def make_records(leads=(1.0, 0.0, -0.5, -0.5), clipped=(0.08, 0.04, 0.03, 0.02)):
    """Returns records in which PPO leads RLOO by `leads`, one for each start.

    The leads differ a little between seeds, and nothing is learned at the first learning rate.
    """
    records = []
    for (level, began), ahead, share in zip(BEGAN.items(), leads, clipped, strict=True):
        for name in ALGORITHMS:
            for rate, learned in ((1e-3, 2.0), (3e-4, 0.0)):
                value = {"reinforce": 0.0, "rloo": learned, "ppo": learned and learned + ahead}
                for seed, s in enumerate(range(-2, 3)):
                    conditions = dict(start=level, algorithm=name, rate=rate, seed=seed)
                    measured = dict(
                        success=0.5,
                        log_odds=value[name] + 0.01 * s * (name == "ppo"),
                        clipped=share * (1 + 0.01 * s),
                        began=began,
                    )
                    records.append(conditions | measured)
    return records


def outcomes(**changes):
    return [v.outcome for v in WarmStart().verdicts(make_records(**changes))]


def test_each_rule_gives_each_of_its_verdicts():
    assert outcomes() == ["supported"] * 5
    assert outcomes(leads=(-1, 0, 0.5, 0.5), clipped=(0.02, 0.1, 0.1, 0.1)) == ["falsified"] * 5
    assert outcomes(leads=(0, 0, 0, 0), clipped=(0.05,) * 4) == ["inconclusive"] * 5


def test_an_algorithm_counts_at_its_better_learning_rate():
    assert {r["rate"] for r in better(make_records(), 0.0, "rloo")} == {1e-3}
    np.testing.assert_allclose(lead(make_records(), 0.1), 0.01 * np.arange(-2, 3), atol=1e-12)
    np.testing.assert_allclose(lead(make_records(), 0.1, "reinforce"), -2.0)


def test_clips_are_compared_at_the_same_learning_rate():
    late = []
    for r in make_records():
        is_higher = r["rate"] == 1e-3
        handicap = 5 * is_higher * (r["start"] > 0)  # warm starts want the other rate
        clipped = 0.04 if is_higher else 0.01  # a rate clips as much from any start
        late.append(r | {"log_odds": r["log_odds"] - handicap, "clipped": clipped})
    assert WarmStart().verdicts(late)[-1].outcome == "inconclusive"


def test_the_slope_is_that_of_the_lead_against_the_start():
    exact = [2 - 0.25 * x for x in BEGAN.values()]
    np.testing.assert_allclose(slope(make_records(leads=exact)), -0.25, atol=1e-9)


@pytest.mark.parametrize("level", [0.1, 0.9])
def test_an_expert_that_errs_that_often_succeeds_as_often_as_asked(level):
    play = jax.jit(
        lambda: rollout(
            TASK, Expert(noise=noise(level)), jax.random.key(0), jnp.arange(4000)
        ).success.mean()
    )
    assert float(play()) == pytest.approx(level, abs=0.02)


@pytest.mark.parametrize(
    "flags, words",
    [
        (dict(levels=(0.1, 0.9)), "0 .untrained. and one of 0.5 or more"),
        (dict(levels=(0.0, 0.1)), "0 .untrained. and one of 0.5 or more"),
        (dict(levels=(0.0, 1.0)), "levels must each be 0 or more and below 1"),
        (dict(learning_rates=(0.0,)), "learning_rates must each be above 0"),
        (dict(epochs=0), "epochs must be 1 or more"),
    ],
)
def test_flags_out_of_range_are_refused(flags, words):
    with pytest.raises(ConfigError, match=words):
        WarmStart(**flags)
