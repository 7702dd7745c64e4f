"""A run that learns nothing says so, once, with what to change."""

from dataclasses import replace

import pytest

from agentic_rl import algorithms, selection
from agentic_rl.training.stalls import WINDOW, Stalls


def entries(**changes):
    """Returns a window of entries of a group-relative run without faults, but for the changes."""
    usual = {
        "zero_variance_groups": 0.4,
        "return": 0.3,
        "success": 0.3,
        "credit_std": 0.9,
        "kept": 1.0,
        "no_gradient": 0.0,
    }
    each = [
        {name: (x(i) if callable(x) else x) for name, x in (usual | changes).items()}
        for i in range(WINDOW)
    ]
    return [
        {name: x if isinstance(x, list) else [x] for name, x in entry.items()} for entry in each
    ]


STUCK = {
    "zero_variance_groups": 1.0,
    "return": 0.0,
    "success": 0.0,
    "credit_std": 0.0,
    "no_gradient": 1.0,
}


@pytest.mark.parametrize(
    "changes, words",
    [
        ({}, None),
        (STUCK, "no attempt did better than another"),
        (STUCK | {"return": 1.0, "success": 1.0}, None),
        (STUCK | {"credit_std": 0.5}, "no attempt did better"),
        (STUCK | {"credit_std": 0.5, "return": lambda i: i / 20}, None),
        (STUCK | {"return": lambda i: i / 20, "success": 0.5}, "no attempt did better"),
        (STUCK | {"zero_variance_groups": lambda i: float(i > 0)}, None),
        (STUCK | {"kept": 0.0}, "no attempt did better"),
        ({"kept": 0.05}, "kept 5.0% of the episodes"),
        (
            {"kept": 0.5, "no_gradient": lambda i: float(i % 2)},
            "50% of the gradient steps had nothing to learn from",
        ),
        ({"kept": 1.0, "no_gradient": 0.5}, None),
    ],
    ids="well nothing solved critic rewarded alike once unkept few idle unselected".split(),
)
def test_each_sign_of_a_stall_has_its_warning(changes, words):
    warnings = Stalls(algorithms.DAPO).look(entries(**changes))
    assert [words in sentence for sentence in warnings] == [True] * (words is not None)
    assert all("--warm-start" in sentence and sentence.endswith(".") for sentence in warnings)


def test_a_warning_comes_once_and_only_after_a_full_window():
    stalls = Stalls(algorithms.GRPO)
    assert stalls.look(entries(**STUCK)[1:]) == []
    assert len(stalls.look(entries(**STUCK)[:1])) == 1
    assert stalls.look(entries(**STUCK)) == []


def test_of_several_seeds_those_that_learn_nothing_are_counted():
    both = {name: [x, y] for (name, x), y in zip(STUCK.items(), (0.4, 0.3, 0.3, 0.9, 0.0))}
    (warning,) = Stalls(algorithms.GRPO).look(entries(**both, kept=[1.0, 1.0]))
    assert "for 1 of 2 seeds" in warning


def test_a_seed_that_has_solved_the_task_is_not_stuck():
    both = {name: [x, y] for (name, x), y in zip(STUCK.items(), (0.4, 0.3, 0.3, 0.9, 0.0))}
    assert (
        Stalls(algorithms.GRPO).look(
            entries(**both | {"return": [1.0, 0.3], "success": [1.0, 0.3]}, kept=[1.0, 1.0])
        )
        == []
    )


def test_a_small_fraction_that_was_asked_for_is_no_surprise():
    algorithm = replace(algorithms.GRPO, selection=selection.TopSpread(fraction=0.05))
    assert Stalls(algorithm).look(entries(kept=0.05)) == []


@pytest.mark.parametrize(
    "algorithm",
    [algorithms.SFT, algorithms.DAGGER],
    ids=["who acts is the expert", "the labels are the expert's"],
)
def test_an_algorithm_that_learns_from_labels_cannot_stall(algorithm):
    assert Stalls(algorithm).look(entries(**STUCK)) == []
