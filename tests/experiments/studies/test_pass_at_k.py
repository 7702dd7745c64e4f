"""pass@k is that of many attempts, strata hold their problems, and each rule gives each verdict."""

import jax
import numpy as np
import pytest

from agentic_rl.config import ConfigError
from agentic_rl.envs.sort_digits import SortDigits
from experiments.harness import training_study
from experiments.reports import figures
from experiments.studies.pass_at_k import (
    BASE,
    DISTILLED,
    RL,
    RL_KL,
    STRATA,
    PassAtK,
    crossing,
    curve,
    judge_task,
    ladder,
    pass_at,
    pass_chance,
    plot_results,
)

SEEDS = range(5)


def make_records(gains):
    """Returns pass@k at 1 and 1024 of each arm; each but the base differs between seeds."""
    base = {1: 0.2, 1024: 0.6}
    wobble = {BASE: 0.0, RL: 0.01, RL_KL: 0.02, DISTILLED: 0.03}
    records = []
    for arm in (BASE, RL, RL_KL, DISTILLED):
        for k in base:
            for s in SEEDS:
                solved = base[k] + gains.get((arm, k), 0) + wobble[arm] * (s - 2)
                records.append(dict(arm=arm, k=k, seed=s, solved=solved))
    return records


def outcomes(gains):
    return [v.outcome for v in judge_task(make_records(gains), "toy", 1024)]


def test_each_rule_gives_each_of_its_verdicts():
    assert outcomes({(RL, 1): 0.3, (RL, 1024): -0.2, (DISTILLED, 1024): 0.2}) == ["supported"] * 4
    assert outcomes({(RL, 1): -0.1, (RL, 1024): 0.3, (DISTILLED, 1024): -0.2}) == ["falsified"] * 4
    assert outcomes({}) == ["inconclusive"] * 4


def test_the_crossing_is_the_first_k_at_which_the_mean_is_lower():
    assert crossing(make_records({(RL, 1): 0.3, (RL, 1024): -0.2}), RL) == "k = 1024"
    assert crossing(make_records({(RL, 1): -0.3}), RL) == "k = 1"
    assert crossing(make_records({(RL, 1): 0.1, (RL, 1024): 0.1}), RL) == "none"


def test_pass_at_k_is_the_share_that_many_attempts_solve():
    p, ks = np.array([0.0, 1e-9, 0.03, 1.0]), np.array([1, 7, 1024])
    np.testing.assert_allclose(
        pass_at(ks, p)[[0, 2, 3]], 1 - (1 - p[[0, 2, 3], None]) ** ks, atol=1e-9
    )
    np.testing.assert_allclose(pass_at(ks, p)[1], 1e-9 * ks, rtol=1e-5)
    won = np.random.default_rng(0).random((20_000, 7)) < 0.03
    assert pass_at(np.array([7]), np.array(0.03))[0] == pytest.approx(won.any(1).mean(), abs=0.01)


def test_a_stratum_holds_the_problems_of_its_base_chances():
    before, after = np.array([[0.01, 0.05, 0.4, 0.9]]), np.array([[0.1, 0.3, 0.5, 1.0]])
    records = {name: curve(before, after, name, [1, 2]) for name in STRATA}
    assert [round(records[name][0]["share"], 2) for name in STRATA] == [1, 0.5, 0.25, 0.25]
    assert records["hard"][0]["solved"] == pytest.approx(0.2)
    assert records["hard"][1]["solved"] == pytest.approx((0.19 + 0.51) / 2)
    assert not np.isnan(records["easy"][0]["solved"])
    assert np.isnan(curve(before[:, :2], after[:, :2], "easy", [1])[0]["solved"])


def test_a_figure_is_plotted_although_strata_are_empty():
    records = []
    for stratum in STRATA:
        for record in make_records({}):
            solved = record["solved"] if stratum == "all" else np.nan
            shared = {"task": "toy", "problems": stratum, "share": 0.0, "solved": solved}
            records.append(record | shared)
    figures.to_bytes(plot_results(records, "toy"))


@pytest.mark.parametrize("attempts", [2, 8, 32])
def test_every_arm_has_as_many_episodes(attempts):
    studies = [PassAtK(attempts=attempts, algorithm=name) for name in ("grpo", "ppo")]
    trained = [study.arm_algorithm(RL) for study in studies] + [PassAtK().arm_algorithm(DISTILLED)]
    assert {algorithm.problems * algorithm.attempts for algorithm in trained} == {256}


def test_ladders_end_where_asked():
    assert ladder(2) == [1, 2] and ladder(1000)[-2:] == [512, 1000]


@pytest.mark.parametrize(
    "flags, words",
    [
        (dict(tasks=("compos",)), "did you mean compose"),
        (dict(algorithm="grop"), "did you mean grpo"),
        (dict(algorithm="sft"), "sft does not learn from rewards"),
        (dict(attempts=1), "compares attempts at the same problem"),
        (dict(attempts=7), "attempts must divide 256, not 7"),
        (dict(kl=0.0), "kl must be above 0"),
        (dict(largest=1), "largest must be 2 or more"),
    ],
)
def test_flags_out_of_range_are_refused(flags, words):
    with pytest.raises(ConfigError, match=words):
        PassAtK(**flags)


@pytest.mark.slow
def test_the_chance_of_a_pass_is_how_often_attempts_succeed():
    task = SortDigits(num_digits=2, base=4, reward="exact")
    policies = training_study.clone_policies(task, training_study.TINY, 2, 30)
    exact = pass_chance(policies, task, training_study.TINY, 64)
    metrics = training_study.evaluate_policies(policies, task, training_study.TINY, 64, attempts=64)
    tried = metrics["num_success"] / 64
    assert np.abs(exact - tried).mean() < 0.05 and np.ptp(exact) > 0.05
    jax.clear_caches()
