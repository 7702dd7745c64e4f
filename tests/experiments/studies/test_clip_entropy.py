"""The effect of a clip is measured against the control, and each rule gives each verdict."""

import jax.numpy as jnp
import numpy as np
import pytest

from agentic_rl.config import ConfigError
from experiments.studies.clip_entropy import (
    NO_CLIP,
    SIDES,
    ClipEntropy,
    clip_effect,
    mean_change,
    mean_effect,
)

SEEDS, LEVELS, RATES = range(5), (0.1, 0.2), (1e-3, 5e-4)


def make_records(low=0.3, high=-0.4, both=-0.2, none=-0.1):
    """Returns changes of entropy; those with a clip are so much larger than those without."""
    records = []
    for rate in RATES:
        for s in SEEDS:
            alone = none + 0.01 * (s - 2)
            records.append(
                dict(learning_rate=rate, side="none", level=NO_CLIP, seed=s, change=alone)
            )
            for side, gap in dict(low=low, high=high, both=both).items():
                records += [
                    dict(
                        learning_rate=rate,
                        side=side,
                        level=x,
                        seed=s,
                        change=alone + gap + 0.02 * (s - 2),
                    )
                    for x in LEVELS
                ]
    return records


def outcomes(**changes):
    return [
        v.outcome
        for v in ClipEntropy(levels=LEVELS, learning_rates=RATES).verdicts(make_records(**changes))
    ]


def test_each_rule_gives_each_of_its_verdicts():
    assert outcomes() == ["supported"] * 5
    assert outcomes(low=-0.3, high=0.4, both=0.2, none=0.1) == ["falsified"] * 5
    assert outcomes(low=0.0, high=0.0, both=0.0, none=0.0) == ["inconclusive"] * 5


def test_the_control_is_that_of_the_same_seed_and_learning_rate():
    some = make_records()
    for r in some:
        r["change"] += 5.0 * (r["learning_rate"] == RATES[1]) + r["seed"]
    np.testing.assert_allclose(
        clip_effect(some, "low", 0.1, RATES[1]), 0.3 + 0.02 * np.arange(-2, 3)
    )
    np.testing.assert_allclose(mean_effect(some, "high"), -0.4 + 0.02 * np.arange(-2, 3))
    np.testing.assert_allclose(mean_change(some, "both"), -0.3 + 2.5 + 1.03 * np.arange(5) - 0.06)


def test_each_side_is_clipped_where_it_says():
    surrogates = {
        side: ClipEntropy().algorithm(1e-3, side, 0.2).surrogate for side in ("none", *SIDES)
    }
    assert {k: (r.clip_low, r.clip_high) for k, r in surrogates.items()} == {
        "none": (NO_CLIP, NO_CLIP),
        "low": (0.2, NO_CLIP),
        "high": (NO_CLIP, 0.2),
        "both": (0.2, 0.2),
    }
    ratio, credit, ones = (
        jnp.array(x).reshape(1, 1, 2) for x in ([0.5, 1.5], [-1.0, 1.0], [True, True])
    )
    cut = {
        side: np.ravel(r(jnp.log(ratio), jnp.zeros((1, 1, 2)), credit, ones))
        for side, r in surrogates.items()
    }
    np.testing.assert_allclose(cut["none"], [-0.5, 1.5], rtol=1e-6)
    np.testing.assert_allclose(cut["low"], [-0.8, 1.5], rtol=1e-6)
    np.testing.assert_allclose(cut["high"], [-0.5, 1.2], rtol=1e-6)


@pytest.mark.parametrize(
    "flags, words",
    [
        (dict(modes=1), "modes must be 2 to 16"),
        (dict(favoured=0.01), "favoured must be above chance"),
        (dict(levels=(0.2, 1.0)), "levels must each be above 0 and below 1, not 1"),
        (dict(levels=()), "levels, one or more"),
        (dict(learning_rates=(0.0,)), "above 0"),
        (dict(epochs=0), "epochs must be 1 or more"),
    ],
)
def test_flags_out_of_range_are_refused(flags, words):
    with pytest.raises(ConfigError, match=words):
        ClipEntropy(**flags)
