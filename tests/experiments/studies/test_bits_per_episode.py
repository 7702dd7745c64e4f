"""The first evaluation that finds an answer counts; the exponent; each rule's verdicts."""

import numpy as np
import pytest

from agentic_rl.config import ConfigError
from experiments.studies.bits_per_episode import (
    ARMS,
    CLONING,
    EACH,
    TARGET,
    WHOLE,
    BitsPerEpisode,
    exponent,
    first_success,
)

ANSWERS, SEEDS = (4, 16, 256), range(5)


def make_records(whole=1.0, each=0.4, cloning=0.0, learned=1):
    """Episodes that grow with these exponents, which differ a little between seeds."""
    power = {WHOLE: whole, EACH: each, CLONING: cloning}
    wobble = {s: 0.01 * (s - 2) for s in SEEDS}
    cells = [(arm, m, s) for arm in ARMS for m in ANSWERS for s in SEEDS]
    return [
        dict(
            arm=arm,
            base=4,
            answers=m,
            seed=s,
            episodes=32 * m ** (power[arm] + wobble[s] * (1 + (arm == EACH))),
            learned=learned,
        )
        for arm, m, s in cells
    ]


def outcomes(**changes):
    return [v.outcome for v in BitsPerEpisode().verdicts(make_records(**changes))]


def test_each_rule_gives_each_of_its_verdicts():
    assert outcomes() == ["supported"] * 3
    assert outcomes(whole=0.3, each=0.6, cloning=0.5) == ["falsified"] * 3
    assert outcomes(whole=0.75, each=0.75, cloning=0.25) == ["inconclusive"] * 3


def test_too_many_runs_that_did_not_learn_leave_a_claim_open():
    assert outcomes(learned=0) == ["inconclusive"] * 3
    some = make_records()
    for r in some[: len(some) // 15]:  # of cloning
        r["learned"] = 0
    verdicts = BitsPerEpisode().verdicts(some)
    assert [v.outcome for v in verdicts] == ["supported", "supported", "inconclusive"]
    other = make_records()
    of_each = [r for r in other if r["arm"] == EACH]
    for r in of_each[:2]:  # 13% of the arm, 7% of the two that are compared
        r["learned"] = 0
    assert [v.outcome for v in BitsPerEpisode().verdicts(other)] == [
        "supported",
        "inconclusive",
        "supported",
    ]
    assert (
        "0 of 15 runs did not learn it." in verdicts[0].evidence
        and "3 of 15 runs" in verdicts[2].evidence
    )


def test_the_exponent_is_the_slope_of_the_logarithms():
    np.testing.assert_allclose(
        exponent([r for r in make_records() if r["arm"] == WHOLE]),
        1 + 0.01 * np.arange(-2, 3),
        rtol=1e-9,
    )


def test_the_first_evaluation_that_reaches_the_target_counts():
    entries = [
        {"step": 0, "eval_success": [0.1, 0.1]},
        {"step": 1},
        {"step": 2, "eval_success": [TARGET, 0.2]},
    ]
    entries += [{"step": 3}, {"step": 4, "eval_success": [0.5, 0.3]}]
    steps, learned = first_success(entries)
    assert steps.tolist() == [2, 4] and learned.tolist() == [True, False]


@pytest.mark.parametrize("answers", [0, 4, 256, 4096])
def test_updates_are_a_multiple_of_the_evaluation_interval(answers):
    every, updates = BitsPerEpisode().schedule(answers)
    assert updates % every == 0 and updates // every <= 200
    assert 200 + 2 * answers <= updates < 200 + 2 * answers + every


@pytest.mark.parametrize(
    "flags, words",
    [
        (dict(digits=(2,), bases=(4,)), "two numbers of answers"),
        (dict(digits=(1, 2), bases=(4, 17)), "bases must each be 2 to 16"),
        (dict(episodes=1), "episodes must be 2 or more"),
        (dict(patience=-1), "patience must be 0 or more"),
    ],
)
def test_flags_out_of_range_are_refused(flags, words):
    with pytest.raises(ConfigError, match=words):
        BitsPerEpisode(**flags)
