"""pass@k is that of many attempts, strata hold the problems they name, and each rule gives each of its verdicts."""

import jax
import numpy as np
import pytest

from agentic_rl.config import ConfigError
from agentic_rl.envs.sort_digits import SortDigits
from experiments.harness import study, training_study
from experiments.reports import figures
from experiments.studies.pass_at_k import (
    BASE,
    DISTILLED,
    RL,
    RL_KL,
    STRATA,
    PassAtK,
    chance,
    crossing,
    curve,
    judge_task,
    ladder,
    pass_at,
    plot_results,
)

SEEDS = range(5)


def made(gains):
    """pass@k at 1 and 1024 of each arm, which differs a little between seeds, but for the base."""
    base = {1: 0.2, 1024: 0.6}
    cells = [(arm, k, s) for arm in (BASE, RL, RL_KL, DISTILLED) for k in base for s in SEEDS]
    wobble = {BASE: 0.0, RL: 0.01, RL_KL: 0.02, DISTILLED: 0.03}
    return [
        dict(arm=arm, k=k, seed=s, solved=base[k] + gains.get((arm, k), 0) + wobble[arm] * (s - 2))
        for arm, k, s in cells
    ]


def outcomes(gains):
    return [v.outcome for v in judge_task(made(gains), "toy", 1024)]


def test_each_rule_gives_each_of_its_verdicts():
    assert outcomes({(RL, 1): 0.3, (RL, 1024): -0.2, (DISTILLED, 1024): 0.2}) == ["supported"] * 4
    assert outcomes({(RL, 1): -0.1, (RL, 1024): 0.3, (DISTILLED, 1024): -0.2}) == ["falsified"] * 4
    assert outcomes({}) == ["inconclusive"] * 4


def test_the_crossing_is_the_first_number_of_attempts_where_the_mean_is_lower():
    assert crossing(made({(RL, 1): 0.3, (RL, 1024): -0.2}), RL) == "k = 1024"
    assert (
        crossing(made({(RL, 1): -0.3}), RL) == "k = 1"
        and crossing(made({(RL, 1): 0.1, (RL, 1024): 0.1}), RL) == "none"
    )


def test_pass_at_k_is_what_many_attempts_find():
    p, ks = np.array([0.0, 1e-9, 0.03, 1.0]), np.array([1, 7, 1024])
    np.testing.assert_allclose(
        pass_at(ks, p)[[0, 2, 3]], 1 - (1 - p[[0, 2, 3], None]) ** ks, atol=1e-9
    )
    np.testing.assert_allclose(pass_at(ks, p)[1], 1e-9 * ks, rtol=1e-5)
    won = np.random.default_rng(0).random((20_000, 7)) < 0.03
    assert pass_at(np.array([7]), np.array(0.03))[0] == pytest.approx(won.any(1).mean(), abs=0.01)


def test_a_stratum_holds_the_problems_of_its_base_chances():
    before, now = np.array([[0.01, 0.05, 0.4, 0.9]]), np.array([[0.1, 0.3, 0.5, 1.0]])
    found = {name: curve(before, now, name, [1, 2]) for name in STRATA}
    assert [round(found[name][0]["share"], 2) for name in STRATA] == [1, 0.5, 0.25, 0.25]
    assert found["hard"][0]["solved"] == pytest.approx(0.2) and found["hard"][1][
        "solved"
    ] == pytest.approx((0.19 + 0.51) / 2)
    assert np.isnan(curve(before, now, "easy", [1])[0]["solved"]) == (not (before > 0.5).any())
    assert np.isnan(curve(before[:, :2], now[:, :2], "easy", [1])[0]["solved"])


def test_a_figure_is_drawn_where_some_problems_are_not_there():
    nothing = [
        r | {"task": "toy", "problems": name, "share": 0.0} for name in STRATA for r in made({})
    ]
    nothing = [r | {"solved": np.nan} if r["problems"] != "all" else r for r in nothing]
    figures.to_bytes(plot_results(nothing, "toy"))


@pytest.mark.parametrize("attempts", [2, 8, 32])
def test_every_arm_has_as_many_episodes(attempts):
    rows = [PassAtK(attempts=attempts, algorithm=name).row(RL) for name in ("grpo", "ppo")] + [
        PassAtK().row(DISTILLED)
    ]
    assert {row.problems * row.attempts for row in rows} == {256}


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
def test_what_cannot_be_asked_is_refused(flags, words):
    with pytest.raises(ConfigError, match=words):
        PassAtK(**flags)


@pytest.mark.slow
def test_the_chance_of_a_pass_is_how_often_attempts_succeed():
    task = SortDigits(num_digits=2, base=4, reward="exact")
    policies = training_study.clone_policies(task, training_study.TINY, 2, 30)
    exact = chance(policies, task, training_study.TINY, 64)
    tried = (
        training_study.evaluate_policies(policies, task, training_study.TINY, 64, attempts=64)[
            "num_success"
        ]
        / 64
    )
    assert np.abs(exact - tried).mean() < 0.05 and np.ptp(exact) > 0.05
    jax.clear_caches()


@pytest.mark.slow
def test_the_command_runs(study_folder):
    assert study.run(PassAtK(), ["--quick", "--out", str(study_folder)]) == 0
    assert np.all(
        [
            (study_folder / name).exists()
            for name in ("results.csv", "table.md", "pass_at_k_sort_digits.png")
        ]
    )
