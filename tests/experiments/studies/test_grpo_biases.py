"""GRPO's two biases: computed weights are the formula's, measured pushes too, and each rule gives each of its verdicts."""

import itertools

import numpy as np
import pytest

from agentic_rl.config import ConfigError
from experiments.ground_truth.objectives import group_weight
from experiments.harness import study
from experiments.pages import closed_forms
from experiments.studies.grpo_biases import CREDITS, GrpoBiases, closed_form, push, weight

GROUPS, CHANCES = (2, 8, 32), (0.01, 0.5)


@pytest.mark.parametrize("attempts", [2, 3, 8, 64])
@pytest.mark.parametrize("p", [0.01, 0.3, 0.5])
def test_weights_from_all_outcomes_are_the_formula_s(attempts, p):
    for name in ("group_relative", "centred", "leave_one_out"):
        assert weight(name, attempts, p) == pytest.approx(closed_form(name, attempts, p), rel=1e-5)
    assert closed_form("group_relative", attempts, p) == pytest.approx(
        group_weight(attempts, p, ddof=1), rel=1e-9
    )


@pytest.mark.slow
@pytest.mark.parametrize("aggregation", closed_forms.AGGREGATIONS)
def test_the_push_on_waiting_is_the_formula_s(aggregation):
    value, error = push(aggregation, 4, 4000)
    assert (
        value == pytest.approx(closed_forms.drift(aggregation, 4, 0.3, 0.5, 1, False), abs=4 * error)
        and error < 0.003
    )


def records(hard=lambda g: g / 2, sequence=0.02, constant=0.0, token=lambda g: 0.02 / g):
    made = []
    for g in GROUPS:
        push = dict(sequence_mean=sequence, constant=constant, token_mean=token(g))
        made += [
            dict(bias="length", form=form, attempts=g, p=0.3, value=x) for form, x in push.items()
        ]
        for form, p in itertools.product(CREDITS, CHANCES):
            value = hard(g) if form == "group_relative" and p < 0.1 else 1.0
            made.append(dict(bias="difficulty", form=form, attempts=g, p=p, value=value))
    return [r | {"error": 0.001 * (r["bias"] == "length"), "closed": r["value"]} for r in made]


def outcomes(**changes):
    return [
        v.outcome for v in GrpoBiases(attempts=GROUPS, chances=CHANCES).verdicts(records(**changes))
    ]


def test_each_rule_gives_each_of_its_verdicts():
    assert outcomes() == ["supported"] * 3
    assert outcomes(hard=lambda g: 1.0)[0] == "falsified"
    assert (
        outcomes(sequence=-0.02)[1] == "falsified"
        and outcomes(sequence=0.0)[1] == outcomes(constant=0.1)[1] == "inconclusive"
    )
    assert (
        outcomes(token=lambda g: g / 100)[2] == "falsified"
        and outcomes(token=lambda g: 0.01)[2] == "inconclusive"
    )


@pytest.mark.parametrize(
    "flags, words",
    [
        (dict(attempts=(8,)), "two numbers"),
        (dict(chances=(0.0, 0.5)), "each be above 0 and at most 0.5"),
        (dict(chances=(0.1, 0.9)), "at most 0.5, not 0.9"),
        (dict(groups=1), "2 or more"),
        (dict(seeds=2), "seeds is 1"),
    ],
)
def test_what_cannot_be_asked_is_refused(flags, words):
    with pytest.raises(ConfigError, match=words):
        GrpoBiases(**flags)


@pytest.mark.slow
def test_the_command_runs(study_folder):
    assert study.run(GrpoBiases(), ["--quick", "--out", str(study_folder)]) == 0
    assert np.all(
        [(study_folder / name).exists() for name in ("results.csv", "table.md", "grpo_biases.png")]
    )
