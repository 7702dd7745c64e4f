"""Arms have the parts of their name, effects are as defined, and each rule gives each verdict."""

import itertools

import numpy as np
import pytest

from agentic_rl.algorithms import DAPO, GRPO, swap
from agentic_rl.config import ConfigError
from agentic_rl.rewards import SoftOverlong
from experiments.studies.dapo_recipe import (
    ALL,
    NONE,
    PARTS,
    SAMPLING,
    DapoRecipe,
    effect,
    final_success,
    recipe,
    success_at_equal_steps,
)

OTHERS = [part for part in PARTS if part != SAMPLING]


def parts_of(arm):
    if arm in (NONE, ALL):
        return set(PARTS) if arm == ALL else set()
    return {arm[2:]} if arm[0] == "+" else set(PARTS) - {arm[2:]}


def make_records(parts=0.05, sampling=0.2, easy=0.05, steps=1.5, informative=(0.3, 0.8)):
    """Returns records in which success grows by what an arm's parts are worth.

    Args:
      steps: factor of the environment steps with dynamic sampling.
      informative: share of the groups from the hard start, and from the easy one.
    """
    worth = dict.fromkeys(OTHERS, parts) | {SAMPLING: sampling}
    records = []
    for cell in DapoRecipe().cells():
        has, is_easy = parts_of(cell["arm"]), cell["start"] == "easy"
        gain = easy * len(has) if is_easy else sum(worth[part] for part in has)
        for update, seed in itertools.product((0, 30, 60), range(5)):
            success = 0.2 + (0.2 + gain) * update / 60 + 0.001 * (seed - 2) * len(has)
            used = 100 * update * (steps if SAMPLING in has else 1)
            record = dict(update=update, seed=seed, success=success, env_steps=used)
            records.append(cell | record | dict(informative=informative[is_easy]))
    return records


def outcomes(**changes):
    return [v.outcome for v in DapoRecipe().verdicts(make_records(**changes))]


def test_each_rule_gives_each_of_its_verdicts():
    assert outcomes() == ["supported"] * 8
    assert outcomes(parts=-0.1, sampling=-0.2, easy=0.1) == ["falsified"] * 8
    assert outcomes(easy=0.3) == ["supported"] * 7 + ["falsified"]
    # Here fewer groups are informative from the easy start, so that it should help more there:
    assert outcomes(informative=(0.8, 0.3)) == ["supported"] * 7 + ["falsified"]
    assert outcomes(parts=0.0, sampling=0.0, easy=0.0, steps=1) == ["inconclusive"] * 8


def test_a_dearer_arm_is_compared_before_its_end():
    records = make_records(parts=0.0, sampling=0.4, steps=2)
    np.testing.assert_allclose(final_success(records, "hard", f"+ {SAMPLING}"), 0.8, atol=0.01)
    np.testing.assert_allclose(
        success_at_equal_steps(records, "hard", f"+ {SAMPLING}"), 0.5, atol=0.01
    )  # at half of its own steps
    np.testing.assert_allclose(success_at_equal_steps(records, "hard", NONE), 0.4)


def test_an_effect_is_the_mean_of_adding_a_part_and_of_leaving_it_out():
    records = make_records()
    for r in records:
        r["success"] += 0.1 * (r["arm"] == f"- {OTHERS[0]}")  # which is then missed less
    np.testing.assert_allclose(
        effect(records, OTHERS[0], final_success).mean(), 0.05 - 0.05, atol=1e-9
    )
    np.testing.assert_allclose(effect(records, SAMPLING, final_success).mean(), 0.2, atol=1e-9)


def test_arms_are_grpo_with_some_parts():
    assert recipe(NONE) == GRPO and recipe(ALL) == swap(DAPO, reward=SoftOverlong())
    assert recipe(f"+ {SAMPLING}") == swap(GRPO, selection=DAPO.selection)
    assert recipe("- token mean") == swap(DAPO, reward=SoftOverlong(), aggregation="sequence_mean")


@pytest.mark.parametrize(
    "flags, words",
    [
        (dict(easy=0.95), "must be above easy"),
        (dict(looks=7), "looks must divide updates"),
        (dict(epochs=0), "epochs must be 1 or more"),
    ],
)
def test_flags_out_of_range_are_refused(flags, words):
    with pytest.raises(ConfigError, match=words):
        DapoRecipe(**flags)
