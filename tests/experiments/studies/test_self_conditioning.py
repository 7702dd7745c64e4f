"""Authors err as asked, chances are read behind their answers, and each rule gives each verdict."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from agentic_rl.config import ConfigError
from agentic_rl.envs.running_sum import RunningSum
from agentic_rl.metrics import matches_expert
from agentic_rl.policy import layout, transformer
from agentic_rl.rollout.actors import Expert
from agentic_rl.rollout.rollout import rollout
from experiments.harness import training_study
from experiments.studies.self_conditioning import (
    AGENTS,
    Authors,
    SelfConditioning,
    algorithm_for,
    answer_chances,
    slope,
)

TASK = RunningSum(num_turns=6, feedback=True)


def test_half_of_the_problems_have_a_careless_author_in_every_attempt():
    episodes = rollout(TASK, Authors(noise=1.0), jax.random.key(0), jnp.arange(400), attempts=2)
    errors = np.asarray(~matches_expert(episodes)).sum(-1)
    assert (errors > 0).mean() == pytest.approx(0.5, abs=0.06)
    assert errors[errors > 0].mean() == pytest.approx(0.9 * 6, abs=0.1)
    assert ((errors[:, 0] > 0) == (errors[:, 1] > 0)).all()


def test_chances_are_read_behind_the_requested_share_of_wrong_answers():
    policies = training_study.fresh(training_study.TINY, 2)
    config = transformer.Policy(width=16, layers=1, heads=2, mlp=32)
    chances = answer_chances(policies, TASK, config, 32, 0.45)
    key, params = training_study._keys(policies)[1], jax.tree.map(lambda x: x[1], policies.params)
    shown = rollout(TASK, Expert(noise=0.5), key, jnp.arange(32), split="test")
    token, valid = (x[:, 0] for x in layout.tokens(shown))
    logits = transformer.apply(config, params, TASK.spec, token, valid)[0][:, :, 0]
    chance = np.asarray(jax.nn.softmax(logits))
    label = np.asarray(shown.label[:, 0, :, 0])
    by_hand = [[chance[i, t, label[i, t]] for t in range(6)] for i in range(32)]
    np.testing.assert_allclose(chances[1], np.mean(by_hand, axis=0), rtol=1e-5)
    assert (~np.asarray(matches_expert(shown))).mean() == pytest.approx(0.45, abs=0.1)


def test_without_marks_a_turn_read_alone_does_not_know_of_errors():
    """In markov context, errors before a turn do not change the chance of a right answer."""
    policies, task = training_study.fresh(training_study.TINY, 1), RunningSum(num_turns=4)
    late = [
        answer_chances(policies, task, training_study.TINY, 4000, rate)[0, -1]
        for rate in (0.0, 0.5)
    ]
    assert late[0] == pytest.approx(late[1], rel=0.01)


def test_agents_learn_by_different_algorithms():
    corrected = algorithm_for("corrected", 0.5)
    assert corrected.labels == "expert" and corrected.actor == Expert(noise=0.5)
    assert algorithm_for("careful", 0.5) == algorithm_for("sft", 0.5)
    assert algorithm_for("sft", 0.5).actor == Expert()
    assert isinstance(algorithm_for("mixed", 0.3).actor, Authors)
    assert not algorithm_for("rloo", 0.5).values.has_values


def test_the_slope_is_that_of_a_line():
    records = [
        dict(seed=s, rate=x, accuracy=0.9 - (0.1 + s) * x)
        for s in range(2)
        for x in (0.5, 0.0, 0.25)
    ]
    np.testing.assert_allclose(slope(records), [-0.1, -1.1])


def outcomes(**slopes):
    """Returns the outcomes for agents whose accuracy has these slopes, with some noise."""
    rates, records = (0.0, 0.25, 0.5), []
    for name, mean_slope in slopes.items():
        for seed in range(5):
            for rate in rates:
                accuracy = 0.9 + (mean_slope + 0.01 * (seed - 2)) * rate
                records.append(dict(agent=name, seed=seed, rate=rate, accuracy=accuracy))
    flags = SelfConditioning(agents=tuple(slopes), rates=rates)
    return [v.outcome for v in flags.verdicts(records)]


def test_each_rule_gives_each_of_its_verdicts():
    cured = dict.fromkeys(("corrected", "dagger", "rloo", "unmarked"), -0.1)
    assert outcomes(careful=-0.1, mixed=-0.6, sft=-0.5, **cured, markov=0.0) == ["supported"] * 8
    assert outcomes(careful=0.0, mixed=0.1) == ["falsified"] * 2
    uncured = dict.fromkeys(cured, -0.5)
    assert outcomes(mixed=-0.6, sft=-0.1, **uncured, markov=0.1)[1:] == ["falsified"] * 6
    halved = dict.fromkeys(cured, -0.3)
    assert (
        outcomes(careful=-0.02, mixed=-0.6, sft=-0.3, **halved, markov=-0.02)
        == ["inconclusive", "supported"] + ["inconclusive"] * 6
    )


@pytest.mark.parametrize(
    "flags, words",
    [
        (dict(agents=("dager",)), "did you mean dagger"),
        (dict(rates=(0.1,)), "two shares or more"),
        (dict(rates=(0.0, 1.0)), "each be 0 to 0.9"),
        (dict(turns=3), "turns must be 4 or more"),
        (dict(noise=0.0), "noise must be above 0"),
        (dict(clone_updates=0), "clone_updates must be 1 or more"),
    ],
)
def test_flags_out_of_range_are_refused(flags, words):
    with pytest.raises(ConfigError, match=words):
        SelfConditioning(**flags)


def test_the_legend_explains_every_agent():
    assert AGENTS.items() <= SelfConditioning.legend.items()
