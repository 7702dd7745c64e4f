"""Each rule of the half-life study gives each of its verdicts, and the command runs."""

import pytest

from agentic_rl.config import ConfigError
from experiments.studies.half_life import HalfLife


def record(seed, context, difficulty, constant, mixed, history, after):
    """Returns a record whose k is 1, shifted by `constant`, by mixing and by the history."""
    is_history, is_mixed = context == "history", difficulty == "mixed"
    noise = 0.04 * (seed - 2)  # so that no difference is the same for all seeds
    wobble = noise * (is_history + is_mixed)
    return dict(
        context=context,
        difficulty=difficulty,
        seed=seed,
        k=1 + constant + mixed * is_mixed + history * is_history + wobble + noise,
        after=after * is_history + wobble,
    )


def outcomes(constant=0.0, mixed=-0.2, history=0.2, after=0.5):
    shifts = (constant, mixed, history, after)
    records = [
        record(seed, context, difficulty, *shifts)
        for seed in range(5)
        for context in ("markov", "history")
        for difficulty in ("easy", "hard", "mixed")
    ]
    return [v.outcome for v in HalfLife().verdicts(records)]


def test_each_rule_gives_each_of_its_verdicts():
    assert outcomes() == ["supported"] * 5
    assert outcomes(constant=0.5, mixed=0.2, history=-0.8, after=-0.5) == ["falsified"] * 5
    assert outcomes(constant=0.1, mixed=-0.02, history=-0.1, after=-0.02) == ["inconclusive"] * 5


def test_a_single_context_is_not_compared_with_the_other():
    records = [
        dict(context="markov", difficulty=difficulty, seed=seed, k=1.0, after=0.0)
        for seed in range(3)
        for difficulty in ("easy", "hard", "mixed")
    ]
    assert len(HalfLife(contexts=("markov",)).verdicts(records)) == 2


@pytest.mark.parametrize(
    "flags, words",
    [
        (dict(contexts=("histroy",)), "did you mean history"),
        (dict(contexts=()), "Name a context"),
        (dict(turns=2), "turns must be 3 or more"),
        (dict(demos=0), "demos must be 1 or more"),
    ],
)
def test_flags_out_of_range_are_refused(flags, words):
    with pytest.raises(ConfigError, match=words):
        HalfLife(**flags)
