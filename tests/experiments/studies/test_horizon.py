"""The horizon study fits the slope of made-up regrets, and each rule gives each of its verdicts."""

import numpy as np
import pytest

from agentic_rl.config import ConfigError
from experiments.reports.stats import select
from experiments.studies.horizon import Horizon, slope

HORIZONS, ERROR = (4, 8, 16, 32), 0.01
DEFAULT = {  # factor and power of the regret
    ("drift", "sft"): (0.5, 2),
    ("drift", "dagger"): (0.5, 2),
    ("drift", "rloo"): (0.5, 2),
    ("unseen_recover", "sft"): (0.5, 2),
    ("unseen_recover", "dagger"): (2, 1),
    ("unseen_recover", "rloo"): (2, 1),
    ("terminal", "sft"): (1, 1),
}


def make_records(changes=(), error=ERROR):
    """Returns records with regret = factor · error · T^power; the power differs between seeds."""
    records = []
    for (case, arm), (factor, power) in (DEFAULT | dict(changes)).items():
        for t in HORIZONS:
            for s in range(5):
                regret = factor * error * t ** (power + 0.01 * (s - 2))
                records.append(
                    dict(case=case, arm=arm, horizon=t, seed=s, error=error, regret=regret)
                )
    return records


def outcomes(**changes):
    changes = {tuple(k.split("__")): v for k, v in changes.items()}
    return [v.outcome for v in Horizon().verdicts(make_records(changes))]


def test_the_slope_is_the_power():
    own = select(make_records(), case="drift", arm="sft")
    np.testing.assert_allclose(slope(own), 2 + 0.01 * (np.arange(5) - 2), atol=1e-9)


def test_horizons_with_too_many_errors_are_left_out():
    own = select(make_records(error=0.03), case="drift", arm="sft")
    for r in own:
        r["regret"] = r["regret"] if r["horizon"] < 12 else 1e-9
    assert (slope(own) > 1.9).all()
    assert np.isnan(slope([r | {"error": 0.2} for r in own])).all()
    assert np.isnan(slope([r | {"regret": 0.0} for r in own])).all()


def test_every_rule_can_be_supported():
    assert outcomes() == ["supported"] * 5


@pytest.mark.parametrize(
    "rule, case, falsified, inconclusive",
    [
        (0, "drift__sft", (0.5, 1), (0.5, 1.5)),
        (1, "drift__dagger", (0.1, 2), (0.5 * np.exp(-0.25), 2)),
        (2, "terminal__sft", (1, 2), (1, 1.3)),
        (3, "unseen_recover__dagger", (1, 2), (0.5, 2)),
        (4, "unseen_recover__rloo", (0.5, 3), (0.5, 2)),
    ],
)
def test_each_rule_can_be_falsified_or_inconclusive(rule, case, falsified, inconclusive):
    assert outcomes(**{case: falsified})[rule] == "falsified"
    assert outcomes(**{case: inconclusive})[rule] == "inconclusive"


def test_only_the_requested_cases_are_judged():
    terminal = Horizon(cases=("terminal",))
    assert len(terminal.verdicts(select(make_records(), case="terminal"))) == 1


@pytest.mark.parametrize(
    "flags, words",
    [
        (dict(cases=("cliff",)), "cliff"),
        (dict(horizons=(8,)), "two horizons"),
        (dict(horizons=(1, 8)), "demoed_recover needs num_turns above"),
    ],
)
def test_flags_out_of_range_are_refused(flags, words):
    with pytest.raises(ConfigError, match=words):
        Horizon(**flags)
