"""The bench's rules say what their records say, and its command runs from end to end."""

import itertools
import json

import numpy as np
import pytest

from agentic_rl.config import ConfigError
from experiments.harness import study
from experiments.reports import report
from experiments.reports.credit_figures import episode, heat_maps
from experiments.studies import credit_bench
from experiments.studies.credit_bench import CreditBench, estimators, mean_of_seeds, verdicts

TASKS, LEVELS = ("chain_pit", "key_door"), (0.05, 0.95)
COLUMNS = dict(
    pearson=0.5,
    snr=0.0,
    env_steps=1.0,
    success=0.5,
    expected_cosine=0.5,
    expected_cosine_se=0.01,
    signal_to_noise=1.0,
    signal_to_noise_se=0.01,
    projection=1.0,
    projection_se=0.01,
)
EPISODE = dict(
    tokens=json.dumps(["KEY -> n0", "DOOR -> OPEN"]),
    credit=json.dumps([0.5, -1.0]),
    truth=json.dumps([0.0, 0.3]),
)


def make_records(**changes):
    """Returns records that are alike but for `changes`: a value, or a function of the level."""
    cells = itertools.product(TASKS, LEVELS, estimators())
    records = [
        dict(task=task, level=level, seed=0, estimator=name) | COLUMNS | EPISODE
        for task, level, name in cells
    ]
    for record in records:
        for column, x in changes.get(record["estimator"], {}).items():
            record[column] = x(record["level"]) if callable(x) else x
    return records


def outcomes(**changes):
    return [v.outcome for v in verdicts(make_records(**changes))]


def test_if_all_are_alike_only_the_rule_on_bias_is_decided():
    assert outcomes() == ["supported", "inconclusive", "inconclusive", "inconclusive"]


@pytest.mark.parametrize("sign, outcome", [(1, "supported"), (-1, "falsified")])
def test_each_rule_can_be_decided_either_way(sign, outcome):
    result = outcomes(
        oracle=dict(expected_cosine=lambda level: 0.5 + 0.4 * sign * (level < 0.5)),
        gigpo=dict(expected_cosine=0.5 + 0.4 * sign),
        **{"4 forks (VinePPO)": dict(signal_to_noise=1 + 0.5 * sign)},
    )
    assert result[1:] == [outcome] * 3


def test_a_biased_rloo_falsifies_and_a_noisy_one_is_inconclusive():
    assert outcomes(leave_one_out=dict(projection=0.9))[0] == "falsified"
    assert outcomes(leave_one_out=dict(projection=0.9, projection_se=0.05))[0] == "supported"
    assert outcomes(leave_one_out=dict(projection=0.9, projection_se=0.5))[0] == "inconclusive"


def test_a_difference_between_tasks_is_inconclusive():
    records = make_records()
    for record in records:
        if record["estimator"] == "4 forks (VinePPO)":
            record["signal_to_noise"] = 2.0 if record["task"] == "key_door" else 0.5
    assert verdicts(records)[2].outcome == "inconclusive"


def test_forks_are_charged_in_the_ratio_per_step():
    dear = {"4 forks (VinePPO)": dict(signal_to_noise=2.0, env_steps=20.0)}
    assert outcomes(**dear)[2] == "falsified"
    (line,) = [
        r
        for r in mean_of_seeds(make_records(**dear))
        if r["estimator"] == "4 forks (VinePPO)" and r["task"] == "key_door"
    ][:1]
    assert line["snr"] == pytest.approx(3.01, abs=0.01) and line["snr_env"] == pytest.approx(
        -10, abs=0.01
    )


def test_seeds_are_averaged_and_a_ratio_below_zero_is_no_signal():
    both = make_records() + [
        r | {"seed": 1, "pearson": 0.1, "signal_to_noise": -3.0} for r in make_records()
    ]
    result = mean_of_seeds(both)
    assert (
        len(result) == len(make_records())
        and {r["pearson"] for r in result} == {0.3}
        and {r["snr"] for r in result} == {-np.inf}
    )


def test_heat_maps_show_every_cell_even_without_a_number():
    figure = heat_maps(
        mean_of_seeds(make_records(imitation=dict(pearson=np.nan, signal_to_noise=0.0)))
    )
    texts = [text.get_text() for panel in figure.axes[:4] for text in panel.texts]
    assert len(texts) == 4 * (len(estimators()) * 4 + len(TASKS)) and "–" in texts and "−∞" in texts


def test_an_episode_shows_its_words_and_the_truth_on_top():
    panel = episode(make_records()[: len(estimators())]).axes[0]
    assert [x.get_text() for x in panel.get_xticklabels()] == ["KEY -> n0", "DOOR -> OPEN"]
    assert [x.get_text() for x in panel.texts][:4] == ["0", "+0.30", "+0.50", "−1.00"]
    assert panel.get_yticklabels()[0].get_text() == "true advantage"


def test_every_credit_without_a_prompt_of_its_own_is_scored():
    some = {"gigpo", "group_relative", "leave_one_out", "oracle", "success_only"}
    assert some < estimators().keys() and "outcome_conditioned" not in estimators()


@pytest.mark.parametrize(
    "flags, words",
    [
        ({"levels": (1.5,)}, "levels must each be above 0 and below 1"),
        ({"replicates": 1}, "2 or more"),
        ({"problems": 0}, "1 or more"),
        ({"tasks": ("chain_pot",)}, "did you mean chain_pit"),
    ],
)
def test_a_bench_that_cannot_measure_is_refused(flags, words):
    with pytest.raises(ConfigError, match=words):
        CreditBench(**flags)


@pytest.mark.slow
def test_the_command_measures_draws_and_judges(study_folder, monkeypatch):
    names = ("leave_one_out", "oracle", "gigpo", "centred", "4 forks (VinePPO)")
    monkeypatch.setattr(
        credit_bench, "estimators", lambda *a: {name: estimators()[name] for name in names}
    )
    assert study.run(CreditBench(), ["--quick", "--out", str(study_folder)]) == 0
    assert {r["estimator"] for r in report.read_csv(study_folder / "results.csv")} == set(names)
    assert {p.name for p in study_folder.iterdir()} >= {
        "table.md",
        "made_by.json",
        "heat_maps.png",
        "heat_maps.svg",
        "episode_chain_pit.png",
    }
