"""The task of old and new rules, what is measured of a policy, and each rule's verdicts."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from agentic_rl import tokens
from agentic_rl.config import ConfigError
from agentic_rl.rollout.rollout import rollout
from experiments.harness import training_study
from experiments.harness.rules_task import OLD, WORDS, Rules, Teacher, answers
from experiments.reports.stats import select
from experiments.studies.forgetting import (
    ARMS,
    Forgetting,
    drop_at,
    judge_single_curve,
    log_probs,
    measure_forgetting,
    r_squared,
)

DROPS = {"sft": 0.4, "oracle_sft": 0.2, "rft": 0.2, "rloo": 0.2, "rloo_kl": 0.1}


def make_records(noise=0.0, **drops):
    """Returns records of success .7 at the smaller rate and 1 at the larger.

    The divergence is equal to the drop, but for noise.
    """
    random, records = np.random.default_rng(0), []
    for arm, drop in (DROPS | drops).items():
        for rate, share, success in ((1e-3, 0.5, 0.7), (3e-3, 1.0, 1.0)):
            for seed in range(5):
                lost = share * (drop + 0.002 * (seed - 2) * list(ARMS).index(arm))
                record = dict(arm=arm, rate=rate, seed=seed, began=0.5, success=success, drop=lost)
                record["divergence"] = (1 - noise) * lost + noise * random.random()
                records.append(record)
    return records


def outcomes(*given, **drops):
    return [v.outcome for v in Forgetting().verdicts(make_records(*given, **drops))]


def test_each_rule_gives_each_of_its_verdicts():
    assert outcomes() == ["supported"] * 4
    assert outcomes(1.0, sft=0.1, oracle_sft=0.3, rloo=0.3, rloo_kl=0.5) == ["falsified"] * 4
    assert (
        outcomes(0.05, sft=0.2, oracle_sft=0.2, rloo=0.2, rloo_kl=0.2)[1:] == ["inconclusive"] * 3
    )
    wide = [
        r | {"divergence": r["divergence"] if r["seed"] < 3 else np.cos(40 * r["drop"])}
        for r in make_records()
    ]
    assert judge_single_curve(wide).outcome == "inconclusive"


def test_claims_about_absent_arms_are_left_out():
    one = Forgetting(arms=("sft", "rloo"))
    assert len(one.verdicts([r for r in make_records() if r["arm"] in one.arms])) == 2


def test_arms_are_compared_between_their_learning_rates():
    np.testing.assert_allclose(
        drop_at(make_records(), "sft", 0.85), 0.3, atol=1e-9
    )  # half way from .2 at .7 to .4 at 1
    assert np.isnan(
        drop_at([r | {"success": 0.8 * r["success"]} for r in make_records()], "sft", 0.9)
    ).all()


def test_arms_are_compared_at_the_same_divergence():
    drop = drop_at(make_records(sft=0.4), "sft", 0.1, by="divergence")
    np.testing.assert_allclose(drop, 0.1, atol=1e-9)  # the drop is the divergence
    apart = make_records()
    for record in select(apart, arm="sft"):
        record["divergence"] *= 4
    assert "the drop is 0.03 by sft, 0.10 by oracle_sft" in judge_single_curve(apart).evidence


def test_r_squared_is_that_of_a_fitted_parabola():
    points = [dict(seed=0, divergence=x, drop=0.1 + x**2) for x in np.linspace(0, 1, 9)]
    assert r_squared(points)[0] == pytest.approx(1)
    off = [r | {"drop": r["drop"] + 0.2 * (-1) ** i} for i, r in enumerate(points)]
    x, y = np.array([(r["divergence"], r["drop"]) for r in off]).T
    design = np.stack([x**2, x, np.ones_like(x)], axis=1)
    rest = y - design @ np.linalg.lstsq(design, y, rcond=None)[0]
    assert r_squared(off)[0] == pytest.approx(1 - (rest**2).sum() / ((y - y.mean()) ** 2).sum())


def test_measures_agree_with_enumeration():
    random = np.random.default_rng(0)
    old, new = (
        np.log(random.dirichlet(np.ones(tokens.VOCABULARY), (2, OLD + 1, WORDS))) for _ in range(2)
    )
    measured, task = measure_forgetting(old, new), Rules()
    for s in range(2):
        success, divergence, drop = 0.0, 0.0, 0.0
        for word in range(WORDS):
            right = [tokens.value(n) for n in range(WORDS) if (n - word) % 2 == 0]
            success += np.exp(new[s, OLD, word, right]).sum() / WORDS
            divergence += (np.exp(old[s, OLD, word]) * (old - new)[s, OLD, word]).sum() / WORDS
            known = [(rule, word, tokens.value(answers()[rule, word])) for rule in range(OLD)]
            drop += sum(np.exp(old[s][at]) - np.exp(new[s][at]) for at in known) / WORDS / OLD
        assert measured["success"][s] == pytest.approx(success) and measured["divergence"][
            s
        ] == pytest.approx(divergence)
        assert measured["drop"][s] == pytest.approx(drop)
    assert task.spec.choices == tuple(range(tokens.VALUE, tokens.VALUE + WORDS))


@jax.jit
def play(teacher):
    return rollout(Rules(new=0.25), teacher, jax.random.key(0), jnp.arange(512), keep_states=True)


def test_the_teacher_is_right_as_often_as_asked_under_the_new_rule():
    assert play(Teacher()).success.all()
    some = play(Teacher(habit=1.0, right=0.7))
    new = np.array(some.state.rule)[:, 0, 0] == OLD
    assert new.mean() == pytest.approx(0.25, abs=0.06) and np.array(some.success)[~new].all()
    assert np.array(some.success)[new].mean() == pytest.approx(0.7, abs=0.12)
    assert len(np.unique(np.array(some.action)[new])) == WORDS
    assert (np.sort(answers()[:OLD]) == np.arange(WORDS)).all() and (
        answers()[OLD] % 2 == np.arange(WORDS) % 2
    ).all()


def test_probabilities_are_those_by_which_the_policy_acts():
    policies = training_study.fresh(training_study.TINY, 2)
    exact = log_probs(policies, training_study.TINY)
    some = training_study.play_test_episodes(policies, Rules(new=0.25), training_study.TINY, 32)
    rule, word = (np.array(x)[:, :, 0, 0] for x in (some.state.rule, some.state.word))
    seed = np.arange(2)[:, None]
    np.testing.assert_allclose(
        exact[seed, rule, word, np.array(some.action)[:, :, 0, 0, 0]],
        some.log_prob[:, :, 0, 0, 0],
        atol=1e-4,
    )


@pytest.mark.parametrize(
    "flags, words",
    [
        (dict(arms=("sft", "rlo")), "did you mean rloo"),
        (dict(arms=("rft", "rloo")), "compared with sft and rloo"),
        (dict(learning_rates=(1e-3,)), "learning_rates are two or more"),
        (dict(kl=0.0), "kl must be above 0"),
        (dict(matched=0.6), "must be below matched"),
        (dict(clone_updates=0), "clone_updates must be 1 or more"),
    ],
)
def test_flags_out_of_range_are_refused(flags, words):
    with pytest.raises(ConfigError, match=words):
        Forgetting(**flags)
