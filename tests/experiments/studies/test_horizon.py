"""How regret grows: slopes of made-up regrets, and each rule gives each of its verdicts."""

import numpy as np
import pytest

from agentic_rl.config import ConfigError
from experiments.harness import study
from experiments.studies.horizon import Horizon, slope

HORIZONS, ERROR = (4, 8, 16, 32), 0.01
DEFAULT = {
    ("drift", "sft"): (0.5, 2), ("drift", "dagger"): (0.5, 2), ("drift", "rloo"): (0.5, 2), ("unseen_recover", "sft"): (0.5, 2),
    ("unseen_recover", "dagger"): (2, 1), ("unseen_recover", "rloo"): (2, 1), ("terminal", "sft"): (1, 1),
}  # fmt: skip


def records(changes=(), error=ERROR):
    """Of regret = factor · error · T^power, a little different from seed to seed."""
    return [
        dict(case=case, arm=arm, horizon=t, seed=s, error=error, regret=factor * error * t ** (power + 0.01 * (s - 2)))
        for (case, arm), (factor, power) in (DEFAULT | dict(changes)).items() for t in HORIZONS for s in range(5)
    ]  # fmt: skip


def outcomes(**changes):
    changes = {tuple(k.split("__")): v for k, v in changes.items()}
    return [v.outcome for v in Horizon().verdicts(records(changes))]


def test_the_slope_is_the_power():
    own = [r for r in records() if (r["case"], r["arm"]) == ("drift", "sft")]
    np.testing.assert_allclose(slope(own), 2 + 0.01 * (np.arange(5) - 2), atol=1e-9)


def test_horizons_with_too_many_errors_are_left_out():
    own = [r for r in records(error=0.03) if (r["case"], r["arm"]) == ("drift", "sft")]
    for r in own:
        r["regret"] = r["regret"] if r["horizon"] < 12 else 1e-9
    assert (slope(own) > 1.9).all()
    assert np.isnan(slope([r | {"error": 0.2} for r in own])).all()
    assert np.isnan(slope([r | {"regret": 0.0} for r in own])).all()


def test_each_rule_gives_each_of_its_verdicts():
    assert outcomes() == ["supported"] * 5
    assert (
        outcomes(drift__sft=(0.5, 1))[0] == "falsified"
        and outcomes(drift__sft=(0.5, 1.5))[0] == "inconclusive"
    )
    assert (
        outcomes(drift__dagger=(0.1, 2))[1] == "falsified"
        and outcomes(drift__dagger=(0.5 * np.exp(-0.25), 2))[1] == "inconclusive"
    )
    assert (
        outcomes(terminal__sft=(1, 2))[2] == "falsified"
        and outcomes(terminal__sft=(1, 1.3))[2] == "inconclusive"
    )
    assert (
        outcomes(unseen_recover__dagger=(1, 2))[3] == "falsified"
        and outcomes(unseen_recover__dagger=(0.5, 2))[3] == "inconclusive"
    )
    assert (
        outcomes(unseen_recover__rloo=(0.5, 3))[4] == "falsified"
        and outcomes(unseen_recover__rloo=(0.5, 2))[4] == "inconclusive"
    )


def test_only_the_cases_that_were_asked_for_are_judged():
    asked = Horizon(cases=("terminal",))
    assert len(asked.verdicts([r for r in records() if r["case"] == "terminal"])) == 1


@pytest.mark.parametrize(
    "flags, words",
    [
        (dict(cases=("cliff",)), "cliff"),
        (dict(horizons=(8,)), "two horizons"),
        (dict(horizons=(1, 8)), "demoed_recover needs num_turns above"),
    ],
)
def test_what_cannot_be_asked_is_refused(flags, words):
    with pytest.raises(ConfigError, match=words):
        Horizon(**flags)


@pytest.mark.slow
def test_the_command_runs(study_folder):
    assert study.run(Horizon(), ["--quick", "--out", str(study_folder)]) == 0
    assert all(
        (study_folder / name).exists() for name in ("results.csv", "table.md", "horizon.png")
    )
