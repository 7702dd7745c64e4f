"""Clones favour the mode that they should, and each rule gives each of its verdicts."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from agentic_rl.config import ConfigError
from agentic_rl.envs.micro import NoisyVerifier
from experiments.studies.spurious_reward import (
    CLIPS,
    COIN,
    PRIORS,
    Mistaken,
    SpuriousReward,
    joint_intervals,
    judge_signs,
)

SEEDS, YOUDEN, MEANS = range(5), (-0.2, 0.0, 0.2), (0.3, 0.5)


def wobble(seed):
    return 0.002 * (seed - 2)


def coins(right=0.1, bare=0.0, wrong=-0.1):
    """Returns gains with a coin, by prior and clip; `bare` is the right prior without the clip."""
    gain = {
        ("right", "clipped"): right,
        ("right", "not clipped"): bare,
        ("wrong", "clipped"): wrong,
        ("wrong", "not clipped"): 0.0,
    }
    records = []
    for prior in PRIORS:
        for clip in CLIPS:
            for seed in SEEDS:
                noise = wobble(seed) * (1 + (clip == "clipped"))
                conditions = dict(prior=prior, clip=clip, seed=seed)
                records.append(conditions | {"gain": gain[prior, clip] + noise} | COIN)
    return records


def grid(gain):
    """Returns a gain for each mean rate and J: `gain(mean, j)`."""
    cells = [(m, j, s) for m in MEANS for j in YOUDEN for s in SEEDS]
    return [
        dict(prior="right", clip="clipped", mean=m, youden=j, seed=s, gain=gain(m, j) + wobble(s))
        for m, j, s in cells
    ]


def outcomes(**changes):
    others = [r for r in grid(lambda m, j: j) if (r["mean"], r["youden"]) != (0.5, 0.0)]
    records = coins(**changes) + others
    return [v.outcome for v in SpuriousReward(youden=YOUDEN, means=MEANS).verdicts(records)]


def test_each_rule_on_coins_gives_each_of_its_verdicts():
    assert outcomes() == ["supported"] * 5
    assert outcomes(right=-0.1, bare=0.1, wrong=0.1)[1:] == ["falsified"] * 4
    assert outcomes(right=0.0, bare=0.02, wrong=0.0) == [
        "supported",
        "inconclusive",
        "falsified",
        "inconclusive",
        "inconclusive",
    ]
    assert outcomes(right=0.0)[2] == "inconclusive"


@pytest.mark.parametrize(
    "gain, outcome",
    [
        (lambda m, j: j, "supported"),
        (lambda m, j: j if m < 0.5 else -j, "falsified"),
        (lambda m, j: j if m < 0.5 else 0.0, "inconclusive"),
    ],
)
def test_the_sign_of_j_is_judged_at_every_mean_rate(gain, outcome):
    assert judge_signs(grid(gain)).outcome == outcome


def test_one_seed_leaves_the_sign_open():
    assert (
        judge_signs([r for r in grid(lambda m, j: j) if r["seed"] == 0]).outcome == "inconclusive"
    )


def test_joint_intervals_are_all_right_in_95_percent_of_cases():
    value = np.random.default_rng(0).normal(size=(4000, 3, 6))
    right = [np.all((low <= 0) & (0 <= high)) for low, high in map(joint_intervals, value)]
    assert np.mean(right) == pytest.approx(0.95, abs=0.015)


def test_mistaken_demonstrations_show_the_mode_that_follows_the_right_one():
    task = NoisyVerifier(4)
    state, _ = jax.vmap(task.reset)(jax.random.split(jax.random.key(0), 400))
    right = jax.vmap(task.expert)(state)
    keys = jax.random.split(jax.random.key(1), 400)

    def act(noise):
        return jax.vmap(lambda k, s: Mistaken(noise=noise).act(task, k, s))(keys, state)

    assert jnp.all((act(0.0) - right) % 4 == 1)
    ahead = np.bincount(np.asarray((act(0.5) - right) % 4).ravel(), minlength=4) / 400
    np.testing.assert_allclose(ahead, [0.125, 0.625, 0.125, 0.125], atol=0.08)


@pytest.mark.parametrize(
    "flags, words",
    [
        (dict(modes=17), "modes must be 2 to 16"),
        (dict(favoured=0.2), "favoured must be above chance"),
        (dict(youden=(-0.8, 0.0, 0.8)), "must be probabilities"),
        (dict(means=(0.3,)), "leave them in"),
        (dict(youden=(0.0, 0.2)), "both sides of 0"),
        (dict(margin=0.0), "margin must be above 0"),
    ],
)
def test_flags_out_of_range_are_refused(flags, words):
    with pytest.raises(ConfigError, match=words):
        SpuriousReward(**flags)
