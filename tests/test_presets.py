"""Presets train, no two are the same, what is said of them holds, and the page is current."""

import doctest
import itertools
import re
from dataclasses import fields, replace
from functools import cache
from pathlib import Path

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from agentic_rl import algorithms
from agentic_rl.credit.returns import token_rewards, token_to_go
from agentic_rl.losses import loss_terms
from agentic_rl.losses.kl import ReferenceKL
from agentic_rl.presets import PRESETS, TABLE
from agentic_rl.values import from_state_values
from experiments.pages import algorithms_page
from experiments.reports import report
from tests.adversarial_updates import POLICY, adversarial, weights_after_update
from tests.batches import close, free, trajectory
from tests.silent_fields import differ
from tests.toys import babbler

PLAIN = algorithms.by_name()
RESULTS = Path(__file__).parents[1] / "results" / "algorithms" / "results.csv"
PAGE = Path(__file__).parents[1] / "docs" / "algorithms.md"
# Together they have a reference, a critic, an entropy bonus, a selection and a ratio of episodes.
FAST = {"rloo-trl"}
APART = [
    ("grpo-trl", "grpo-verl"),
    ("grpo-deepseek", "grpo-tunix"),
    ("cispo-trl", "cispo-verl"),
    ("rloo-trl", "rloo-verl"),
    ("gigpo-paper", "gigpo-code"),
    ("reinforce++", "reinforce++-baseline"),
    ("ppo-2017", "ppo-verl"),
    ("vc-ppo", "vapo"),
]


def test_presets_are_neither_plain_algorithms_nor_one_another():
    assert not PRESETS.keys() & PLAIN.keys()
    assert len(set(PRESETS.values())) == len(PRESETS)


def test_a_preset_has_the_sizes_of_a_plain_algorithm():
    def sizes(algorithm):
        return tuple(getattr(algorithm, name) for name in sorted(algorithms_page.SIZES))

    assert {sizes(preset) for preset in PRESETS.values()} <= {
        sizes(plain) for plain in PLAIN.values()
    }


def test_presets_that_are_called_a_plain_algorithm_are_that_algorithm():
    names = {algorithm: name for name, algorithm in PLAIN.items()}
    for preset, (algorithm, about) in TABLE.items():
        said = re.findall(r"It is the algorithm (\w+)", about)
        assert said == ([names[algorithm]] if algorithm in names else []), preset


def harsh():
    """Returns episodes and how far the policy has moved since, which is up to tenfold.

    The episodes at the first problem earn hardly anything.
    """
    batch = free(trajectory(2))
    scale = np.float32([1e-3, 1.0, 1.0])[:, None, None]
    return jax.tree.map(
        jnp.asarray, batch._replace(reward=batch.reward * scale)
    ), jax.random.normal(jax.random.key(0), batch.mask.shape)


def before(batch):
    """Returns random values."""
    return jax.random.normal(jax.random.key(1), batch.mask.shape)


def credited(algorithm, batch):
    """Returns the credit of each token (0 if not trained on), the trained mask and the values."""
    batch, kept = algorithm.reward(batch), algorithm.selection(batch)
    value = from_state_values(
        before(batch), token_rewards(batch), batch.mask, getattr(algorithm.values, "discount", 1.0)
    )
    mask = batch.mask & kept[..., None, None]
    credit = algorithm.credit(batch._replace(mask=mask), value)
    return jnp.where(mask, credit[..., None] if credit.ndim == 3 else credit, 0.0), mask, value


@cache
def lesson(preset):
    """Returns what a preset teaches from the harsh batch: the loss's slope and value targets."""
    algorithm = PRESETS[preset]
    batch, drift = harsh()
    credit, mask, value = credited(algorithm, batch)
    flat = [
        x.reshape((-1, *x.shape[2:]))
        for x in (batch.log_prob, credit, mask, batch.reference_log_prob)
    ]

    def loss(log_prob):
        old, credit, mask, reference = flat
        per_token = -algorithm.surrogate(log_prob, old, credit, mask)
        if isinstance(algorithm.kl, ReferenceKL):
            per_token += algorithm.kl(log_prob, reference)
        return (loss_terms.token_weight([mask], algorithm.aggregation)[0] * per_token).sum()

    slope = jax.grad(loss)(flat[0] + drift.reshape(flat[0].shape))
    return slope, algorithm.values.target(value, mask) if algorithm.values.learned else jnp.zeros(
        ()
    )


@pytest.mark.slow
def test_no_two_presets_learn_the_same_from_a_harsh_batch():
    def apart(a, b):
        return any(
            x.shape != y.shape or np.abs(x - y).max() > 1e-6 for x, y in zip(lesson(a), lesson(b))
        )

    same = [pair for pair in itertools.combinations(PRESETS, 2) if not apart(*pair)]
    assert not same, f"one algorithm under two names: {same}"


def test_the_two_forms_of_gspo_have_one_gradient_but_for_eps():
    batch, drift = harsh()
    one, other = PRESETS["gspo-trl"], PRESETS["gspo-verl"]
    credit, mask, _ = credited(one, batch)
    old, credit, mask, drift = (
        x.reshape((-1, *x.shape[2:])) for x in (batch.log_prob, credit, mask, drift / 1000)
    )
    slopes = [
        jax.grad(lambda x: jnp.where(mask, a.surrogate(x, old, credit, mask), 0.0).sum())(
            old + drift
        )
        for a in (one, other)
    ]
    close(slopes[0], slopes[1])
    assert 0 < (slopes[0] != 0).sum() < mask.sum()


def test_remax_credits_with_the_reward_to_go_minus_the_baseline():
    batch, _ = harsh()
    credit, mask, _ = credited(PRESETS["remax"], batch)
    close(credit, np.where(mask, token_to_go(batch) - before(batch), 0.0))


def test_behind_the_second_longest_episode_the_optimal_token_baseline_is_0():
    batch, _ = harsh()
    credit, mask, _ = credited(PRESETS["otb"], batch)
    baseline = np.where(mask, token_to_go(batch) - credit, 0.0)
    number = np.cumsum(mask.reshape(*mask.shape[:2], -1), -1).reshape(mask.shape)
    behind = mask & (number > np.sort(mask.sum((2, 3)))[:, -2, None, None, None])
    assert behind.any() and not baseline[behind].any() and (baseline[mask & ~behind] != 0).all()


def test_in_episodes_of_up_to_20_tokens_vapo_s_lambda_is_0():
    batch, _ = harsh()
    credit, mask, value = credited(
        replace(PRESETS["vapo"], credit=replace(PRESETS["vapo"].credit, whiten=False)), batch
    )
    close(credit, np.where(mask, value.after - value.before, 0.0))


@pytest.mark.parametrize(
    "name", [pytest.param(n, marks=[pytest.mark.slow] * (n not in FAST)) for n in PRESETS]
)
def test_a_preset_makes_an_update(name):
    after = jax.tree.map(lambda x: x[0], weights_after_update(adversarial(PRESETS[name])))
    chex.assert_tree_all_finite(after)
    assert differ(after, babbler(POLICY))


@pytest.mark.slow
@pytest.mark.parametrize("one, other", APART)
def test_presets_of_one_name_make_different_updates(one, other):
    a, b = (weights_after_update(adversarial(PRESETS[name])) for name in (one, other))
    assert differ(a, b)


def results():
    return report.read_csv(RESULTS)


def test_the_committed_page_is_current():
    page = PAGE.read_text(encoding="utf-8")
    assert page == algorithms_page.page(results()), (
        "Run `python -m experiments.pages.algorithms_page --no-measure`, commit docs/algorithms.md."
    )


def test_every_variant_was_measured():
    measured = {record["variant"] for record in results()}
    assert measured == algorithms_page.variants().keys(), (
        "Run `python -m experiments.pages.algorithms_page` and commit its results."
    )


def test_the_page_tells_algorithms_apart_wherever_their_parts_differ():
    for one, other in itertools.combinations(algorithms_page.variants().values(), 2):
        names = [f.name for f in fields(one) if f.name not in algorithms_page.SIZES]
        unequal = {name for name in names if getattr(one, name) != getattr(other, name)}
        assert unequal == algorithms_page.cells(one, other).keys()
        assert all(
            algorithms_page.describe_part(getattr(one, name))
            != algorithms_page.describe_part(getattr(other, name))
            for name in unequal
        )


def test_the_examples_in_the_docstrings_hold():
    assert doctest.testmod(algorithms_page) == (0, 2)


def test_norms_and_cosines_are_those_of_whole_trees_at_both_points():
    base = {"a": jnp.array([[3.0, 0.0], [1.0, 0.0]]), "b": jnp.array([[4.0], [0.0]])}
    slope = {"a": jnp.array([[0.0, 2.0], [-2.0, 0.0]]), "b": jnp.zeros((2, 1))}
    result = algorithms_page.compare_gradients(slope, base)
    assert result == pytest.approx({"norm": 2, "cosine": 0, "moved_norm": 2, "moved_cosine": -1})
    assert algorithms_page.compare_gradients(base, base) == pytest.approx(
        {"norm": 5, "cosine": 1, "moved_norm": 1, "moved_cosine": 1}
    )


def test_only_a_critic_s_loss_is_left_out_of_what_is_measured():
    for algorithm in algorithms_page.variants().values():
        measured = algorithms_page.without_critic_loss(algorithm)
        assert getattr(measured.values, "coefficient", 0.0) == 0
        assert replace(measured, values=algorithm.values) == algorithm


@pytest.mark.slow  # compiles a run and three programs
def test_the_command_measures_what_training_would_see_and_writes_the_page(tmp_path, monkeypatch):
    some = {name: algorithms_page.variants()[name] for name in ("grpo", "reinforce", "ppo-verl")}
    monkeypatch.setattr(algorithms_page, "variants", lambda: some)
    monkeypatch.setattr(algorithms_page.parallel, "prepare", lambda devices: None)
    monkeypatch.setattr(algorithms_page.console, "keep_compiled_programs", lambda: None)
    sizes = ["--task", "two_prompt", "--warm-updates", "0", "--updates", "10"]
    assert (
        algorithms_page.main([*sizes, "--out", str(tmp_path), "--page", str(tmp_path / "page.md")])
        == 0
    )
    grpo, reinforce, ppo = report.read_csv(tmp_path / "results.csv")
    assert (grpo["cosine"], grpo["moved_cosine"]) == pytest.approx((1, 1)) and 1e-3 < grpo[
        "gap"
    ] < 1
    assert (
        reinforce["credit_mean"] == pytest.approx(reinforce["success"])
        and abs(reinforce["moved_cosine"]) < 1
    )
    assert ppo["credit_std"] == pytest.approx(1, rel=1e-3)
    assert "--task two_prompt" in (tmp_path / "page.md").read_text()
