"""The bench's rules say what their records say, and its command runs from end to end."""

import itertools

import numpy as np
import pytest

from agentic_rl.config import ConfigError
from experiments import credit_bench, report
from experiments.credit_bench import Command, estimators, heat_maps, verdicts

TASKS, LEVELS = ("chain_pit", "key_door"), (0.05, 0.95)
COLUMNS = dict(pearson=0.5, expected_cosine=0.5, snr=0.0, snr_env=0.0, snr_se=1.0, cosine_bias=1.0, cosine_bias_se=0.01, env_steps=1.0)


def records(**changes):
    """All alike, but for {"estimator": {column: value}}, which may depend on the level."""
    cells = itertools.product(TASKS, LEVELS, estimators())
    made = [dict(task=task, level=level, success=level, estimator=name) | COLUMNS for task, level, name in cells]
    for record in made:
        for column, x in changes.get(record["estimator"], {}).items():
            record[column] = x(record["level"]) if callable(x) else x
    return made


def outcomes(**changes):
    return [v.outcome for v in verdicts(records(**changes))]


def test_where_all_are_alike_nothing_is_decided_but_that_rloo_is_unbiased():
    assert outcomes() == ["supported", "inconclusive", "inconclusive", "inconclusive"]


@pytest.mark.parametrize("sign, outcome", [(1, "supported"), (-1, "falsified")])
def test_each_rule_can_be_decided_either_way(sign, outcome):
    found = outcomes(
        oracle=dict(snr=lambda level: 20 * sign * (level < 0.5)),
        gigpo=dict(snr=20 * sign),
        **{"4 forks (VinePPO)": dict(snr_env=20 * sign)},
    )
    assert found[1:] == [outcome] * 3


def test_a_biased_rloo_falsifies_the_bench_and_a_noisy_one_does_not():
    assert outcomes(leave_one_out=dict(cosine_bias=0.9))[0] == "falsified"
    assert outcomes(leave_one_out=dict(cosine_bias=0.9, cosine_bias_se=0.1))[0] == "supported"


def test_what_differs_between_tasks_is_inconclusive():
    made = records()
    for record in made:
        if record["estimator"] == "4 forks (VinePPO)":
            record["snr_env"] = 20 if record["task"] == "key_door" else -20
    assert verdicts(made)[2].outcome == "inconclusive"


def test_the_heat_maps_show_every_cell_also_where_nothing_is_measured():
    figure = heat_maps(records(imitation=dict(pearson=np.nan, snr=-np.inf)))
    texts = [text.get_text() for panel in figure.axes[:4] for text in panel.texts]
    assert len(texts) == 4 * len(estimators()) * 4 and "–" in texts and "-∞" in texts


def test_every_credit_without_a_prompt_of_its_own_is_scored():
    assert {
        "gigpo",
        "group_relative",
        "leave_one_out",
        "oracle",
        "success_only",
    } < estimators().keys() and "outcome_conditioned" not in estimators()


@pytest.mark.parametrize(
    "flags, words", [({"levels": (1.5,)}, "between 0 and 1"), ({"replicates": 1}, "2 or more"), ({"problems": 0}, "1 or more")]
)
def test_a_bench_that_cannot_measure_is_refused(flags, words):
    with pytest.raises(ConfigError, match=words):
        Command(**flags)


@pytest.mark.slow
def test_the_command_measures_draws_and_judges(tmp_path, monkeypatch):
    some = {name: estimators()[name] for name in ("leave_one_out", "oracle", "gigpo", "centred", "4 forks (VinePPO)")}
    monkeypatch.setattr(credit_bench, "estimators", lambda: some)
    monkeypatch.setattr(credit_bench.parallel, "prepare", lambda devices: None)
    monkeypatch.setattr(credit_bench.console, "keep_compiled_programs", lambda: None)
    sizes = ["--tasks", "chain_pit", "--levels", "0.05", "--replicates", "4", "--problems", "2", "--attempts", "2", "--out", str(tmp_path)]
    assert credit_bench.main(sizes) == 0
    assert {r["estimator"] for r in report.read_csv(tmp_path / "results.csv")} == some.keys()
    assert {p.name for p in tmp_path.iterdir()} >= {"table.md", "heat_maps.png", "heat_maps.svg", "episode_chain_pit.png"}
