"""New skills out of old ones: each rule gives each of its verdicts, and what cannot be asked is refused."""

import numpy as np
import pytest

from agentic_rl.config import ConfigError
from experiments.harness import study
from experiments.studies.composition import ARMS, NEW, Composition, gain_on_known_pairs


def made(**success):
    """At depth 4; less at depth 6, and the same on new pairs."""
    found = []
    for arm in ARMS:
        for seed in range(5):
            at = success.get(arm, 0.2) + 0.004 * (seed - 2) * (1 + list(ARMS).index(arm))
            found += [
                dict(arm=arm, seed=seed, depth=depth, success=x)
                for depth, x in ((4, at), (6, at / 2), (NEW, at))
            ]
    return found


def outcomes(**success):
    return [v.outcome for v in Composition(depths=(4, 6)).verdicts(made(**success))]


def test_each_rule_gives_each_of_its_verdicts():
    assert outcomes(rl_2=0.8, sft_2=0.6) == ["supported"] * 4
    assert outcomes(rl_2=0.1) == ["falsified"] * 4
    assert outcomes(rl_2=0.2, rft_2=0.15) == ["inconclusive"] * 4


def test_a_table_line_and_a_figure_for_each_arm():
    asked = Composition(depths=(4, 6))
    lines = asked.lines(made())
    assert [line["arm"] for line in lines] == list(ARMS) and list(lines[0]) == [
        "arm",
        "depth 4",
        "depth 6",
        NEW,
    ]
    assert len(asked.figures(made())["composition"].legends[0].get_texts()) == len(
        ARMS
    )  # and the interval
    assert {
        r["gain"]
        for r in gain_on_known_pairs(made(rl_2=0.5))
        if (r["arm"], r["depth"], r["seed"]) == ("rl_2", 4, 2)
    } == {0.3}


@pytest.mark.parametrize(
    "flags, words",
    [
        (dict(arms=(*ARMS, "rl_3")), "did you mean rl_"),
        (dict(arms=("rl_2",)), "leave them in --arms"),
        (dict(depths=(1, 2)), "must be one of depths"),
        (dict(depths=(0, 4)), "depths must each be 1 or more"),
        (dict(clone_updates=0), "clone_updates must be 1 or more"),
        (dict(learning_rate=0.0), "learning_rate must be above 0"),
    ],
)
def test_what_cannot_be_asked_is_refused(flags, words):
    with pytest.raises(ConfigError, match=words):
        Composition(**flags)


@pytest.mark.slow
def test_the_command_runs(study_folder):
    assert study.run(Composition(), ["--quick", "--out", str(study_folder)]) == 0
    assert np.all(
        [(study_folder / name).exists() for name in ("results.csv", "table.md", "composition.png")]
    )
