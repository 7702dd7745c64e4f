"""DAPO's parts: what each arm is made of, effects at as many steps, and each rule gives each of its verdicts."""

import numpy as np
import pytest

from agentic_rl.algorithms import DAPO, GRPO, swap
from agentic_rl.config import ConfigError
from agentic_rl.rewards import SoftOverlong
from experiments.harness import study
from experiments.studies.dapo_recipe import (
    ALL,
    NONE,
    PARTS,
    SAMPLING,
    DapoRecipe,
    effect,
    recipe,
    score,
    success_at_equal_steps,
)

OTHERS = [part for part in PARTS if part != SAMPLING]


def records(parts=0.05, sampling=0.2, easy=0.05, steps=1.5, informative=(0.3, 0.8)):
    """Success grows by what an arm's parts are worth, in two looks; with dynamic sampling it costs `steps` times as much.

    Args: informative: share of the groups from the hard start, and from the easy one.
    """
    worth, found = dict.fromkeys(OTHERS, parts) | {SAMPLING: sampling}, []
    for cell in DapoRecipe().cells():
        start, arm = cell["start"], cell["arm"]
        has = (
            set(PARTS)
            if arm == ALL
            else set()
            if arm == NONE
            else {arm[2:]}
            if arm[0] == "+"
            else set(PARTS) - {arm[2:]}
        )
        gain = sum(worth[part] for part in has) if start == "hard" else easy * len(has)
        for update in (0, 30, 60):
            end = 0.2 + (0.2 + gain) * update / 60
            used = 100 * update * (steps if SAMPLING in has else 1)
            told = dict(update=update, env_steps=used, informative=informative[start == "easy"])
            found += [
                cell | told | dict(seed=s, success=end + 0.001 * (s - 2) * len(has))
                for s in range(5)
            ]
    return found


def outcomes(**changes):
    return [v.outcome for v in DapoRecipe().verdicts(records(**changes))]


def test_each_rule_gives_each_of_its_verdicts():
    assert outcomes() == ["supported"] * 8
    assert outcomes(parts=-0.1, sampling=-0.2, easy=0.1) == ["falsified"] * 8
    assert outcomes(easy=0.3) == ["supported"] * 7 + ["falsified"]
    assert outcomes(informative=(0.8, 0.3)) == ["supported"] * 7 + [
        "falsified"
    ]  # then the easy start is where it should help more
    assert outcomes(parts=0.0, sampling=0.0, easy=0.0, steps=1) == ["inconclusive"] * 8


def test_what_is_dearer_is_compared_on_the_way():
    made = records(parts=0.0, sampling=0.4, steps=2)
    np.testing.assert_allclose(score(made, "hard", f"+ {SAMPLING}"), 0.8, atol=0.01)
    np.testing.assert_allclose(
        success_at_equal_steps(made, "hard", f"+ {SAMPLING}"), 0.5, atol=0.01
    )  # at half of its own steps
    np.testing.assert_allclose(success_at_equal_steps(made, "hard", NONE), 0.4)


def test_an_effect_is_the_mean_of_adding_a_part_and_of_leaving_it_out():
    made = records()
    for r in made:
        r["success"] += 0.1 * (r["arm"] == f"- {OTHERS[0]}")  # which is then missed less
    np.testing.assert_allclose(effect(made, OTHERS[0], score).mean(), 0.05 - 0.05, atol=1e-9)
    np.testing.assert_allclose(effect(made, SAMPLING, score).mean(), 0.2, atol=1e-9)


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
def test_what_cannot_be_asked_is_refused(flags, words):
    with pytest.raises(ConfigError, match=words):
        DapoRecipe(**flags)


@pytest.mark.slow
def test_the_command_runs(study_folder):
    assert study.run(DapoRecipe(), ["--quick", "--out", str(study_folder)]) == 0
    assert all(
        (study_folder / name).exists() for name in ("results.csv", "table.md", "dapo_recipe.png")
    )
