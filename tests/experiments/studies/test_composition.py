"""Each rule of the study on composed skills gives each verdict, and its flags are checked."""

import pytest

from agentic_rl.config import ConfigError
from experiments.studies.composition import ARMS, NEW, Composition, gain_on_known_pairs


def make_records(**success):
    """Returns records of each arm's success at depth 4; at depth 6 it is half of that."""
    records = []
    for arm in ARMS:
        for seed in range(5):
            value = success.get(arm, 0.2) + 0.004 * (seed - 2) * (1 + list(ARMS).index(arm))
            for depth, x in ((4, value), (6, value / 2), (NEW, value)):
                records.append(dict(arm=arm, seed=seed, depth=depth, success=x))
    return records


def outcomes(**success):
    return [v.outcome for v in Composition(depths=(4, 6)).verdicts(make_records(**success))]


def test_each_rule_gives_each_of_its_verdicts():
    assert outcomes(rl_2=0.8, sft_2=0.6) == ["supported"] * 4
    assert outcomes(rl_2=0.1) == ["falsified"] * 4
    assert outcomes(rl_2=0.2, rft_2=0.15) == ["inconclusive"] * 4


def test_a_table_line_and_a_figure_for_each_arm():
    composition, records = Composition(depths=(4, 6)), make_records()
    lines = composition.lines(records)
    assert [line["arm"] for line in lines] == list(ARMS)
    assert list(lines[0]) == ["arm", "depth 4", "depth 6", NEW]
    legend = composition.figures(records)["composition"].legends[0]
    assert len(legend.get_texts()) == len(ARMS)  # all arms but the base, and the interval


def test_the_gain_is_the_success_minus_that_of_the_base():
    gains = gain_on_known_pairs(make_records(rl_2=0.5))
    (record,) = [r for r in gains if (r["arm"], r["depth"], r["seed"]) == ("rl_2", 4, 2)]
    assert record["gain"] == 0.3


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
def test_flags_out_of_range_are_refused(flags, words):
    with pytest.raises(ConfigError, match=words):
        Composition(**flags)
