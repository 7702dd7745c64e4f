"""Weights and pushes agree with their closed forms, and each rule gives each of its verdicts."""

import itertools

import pytest

from agentic_rl.config import ConfigError
from experiments.ground_truth.objectives import group_weight
from experiments.pages import closed_forms
from experiments.studies.grpo_biases import CREDITS, GrpoBiases, closed_form, push, weight

GROUPS, CHANCES = (2, 8, 32), (0.01, 0.5)


@pytest.mark.parametrize("attempts", [2, 3, 8, 64])
@pytest.mark.parametrize("p", [0.01, 0.3, 0.5])
def test_weights_from_all_outcomes_agree_with_the_formula(attempts, p):
    for name in ("group_relative", "centred", "leave_one_out"):
        assert weight(name, attempts, p) == pytest.approx(closed_form(name, attempts, p), rel=1e-5)
    assert closed_form("group_relative", attempts, p) == pytest.approx(
        group_weight(attempts, p, ddof=1), rel=1e-9
    )


@pytest.mark.slow
@pytest.mark.parametrize("aggregation", closed_forms.AGGREGATIONS)
def test_the_push_on_waiting_agrees_with_the_formula(aggregation):
    value, error = push(aggregation, 4, 4000)
    drift = closed_forms.drift(aggregation, 4, 0.3, 0.5, 1, False)
    assert value == pytest.approx(drift, abs=4 * error) and error < 0.003


def make_records(hard=lambda g: g / 2, sequence=0.02, constant=0.0, token=lambda g: 0.02 / g):
    """Returns records of these pushes, and of weights `hard` of the harder problem under GRPO."""
    records = []
    for group in GROUPS:
        pushes = dict(sequence_mean=sequence, constant=constant, token_mean=token(group))
        for form, value in pushes.items():
            record = dict(bias="length", form=form, attempts=group, p=0.3, value=value)
            records.append(record | dict(error=0.001, closed=value))
        for form, p in itertools.product(CREDITS, CHANCES):
            value = hard(group) if form == "group_relative" and p < 0.1 else 1.0
            record = dict(bias="difficulty", form=form, attempts=group, p=p, value=value)
            records.append(record | dict(error=0.0, closed=value))
    return records


def outcomes(**changes):
    study = GrpoBiases(attempts=GROUPS, chances=CHANCES)
    return [verdict.outcome for verdict in study.verdicts(make_records(**changes))]


def test_each_rule_gives_each_of_its_verdicts():
    assert outcomes() == ["supported"] * 3
    assert outcomes(hard=lambda g: 1.0)[0] == "falsified"
    assert outcomes(sequence=-0.02)[1] == "falsified"
    assert outcomes(sequence=0.0)[1] == outcomes(constant=0.1)[1] == "inconclusive"
    assert outcomes(token=lambda g: g / 100)[2] == "falsified"
    assert outcomes(token=lambda g: 0.01)[2] == "inconclusive"


@pytest.mark.parametrize(
    "flags, words",
    [
        (dict(attempts=(8,)), "two numbers of attempts"),
        (dict(chances=(0.0, 0.5)), "each be above 0 and at most 0.5"),
        (dict(chances=(0.1, 0.9)), "at most 0.5, not 0.9"),
        (dict(groups=1), "2 or more"),
        (dict(seeds=2), "seeds is 1"),
    ],
)
def test_flags_out_of_range_are_refused(flags, words):
    with pytest.raises(ConfigError, match=words):
        GrpoBiases(**flags)
