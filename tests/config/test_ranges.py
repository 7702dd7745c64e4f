"""Every number that one can choose declares its range.

A number outside is refused by the name of its field or, on a command line, of its flag.
"""

import dataclasses
import importlib
import inspect
import pkgutil
import re
from math import inf, nan
from typing import Annotated

import jax
import jax.numpy as jnp
import pytest

import agentic_rl
import experiments
from agentic_rl import algorithms, envs
from agentic_rl.config import ConfigError, config, named, ranges
from agentic_rl.config.ranges import LARGEST_INT, Count, Positive, Range, declared_range, number
from agentic_rl.losses.surrogates import ClippedRatio
from agentic_rl.optimizer import Adam
from agentic_rl.training.run import Run
from experiments import train


def dataclasses_of(package) -> list[type]:
    """Returns all frozen dataclasses that the modules of a package define."""
    modules = [
        importlib.import_module(m.name)
        for m in pkgutil.walk_packages(package.__path__, f"{package.__name__}.")
    ]
    members = [
        cls
        for module in modules
        for _, cls in inspect.getmembers(module, inspect.isclass)
        if cls.__module__ == module.__name__
    ]
    classes = [cls for cls in dict.fromkeys(members) if dataclasses.is_dataclass(cls)]
    configs = [cls for cls in classes if cls.__dataclass_params__.frozen]
    return [cls for cls in configs if cls is not Range]


# Values of fields without defaults; other such fields may be None.
REQUIRED = {"labels": "own", "run_dir": "runs/x", "algorithm": algorithms.GRPO}
EVERY = [cls for package in (agentic_rl, experiments) for cls in dataclasses_of(package)]
NUMBERS = [(cls, field) for cls in EVERY for field in dataclasses.fields(cls) if number(field.type)]


def outside(field: dataclasses.Field) -> list[float]:
    """Returns numbers that the field does not allow."""
    within = declared_range(field.type)
    if number(field.type) is int:
        return [x for x in (int(max(within.low, -(2**40))) - 1, LARGEST_INT + 1) if x not in within]
    edges = [within.low - 1e-3, within.high + 1e-3, within.above, within.below]
    return [float(x) for x in (nan, -inf, *edges, inf) if x not in within]


@pytest.mark.parametrize(
    "of, inside, outside",
    [
        ("Finite", [-1e9, 0.0], [-inf, inf]),
        ("Positive", [1e-9, 3e38], [0.0, -1.0, 4e38, inf]),
        ("NonNegative", [0.0], [-1e-9, inf]),
        ("Probability", [0.0, 1.0], [-0.1, 1.1]),
        ("Fraction", [0.1, 1.0], [0.0, 1.1]),
        ("Inside", [0.5], [0.0, 1.0]),
        ("Memory", [0.0, 0.9], [-0.1, 1.0]),
        ("Bound", [0.1, inf], [0.0, -inf]),
        ("Distance", [0.0, inf], [-0.1, -inf]),
        ("Count", [1, LARGEST_INT], [0, LARGEST_INT + 1]),
        ("OneToken", [2, 16], [1, 17]),
    ],
)
def test_a_range_has_its_ends_or_not_as_its_name_says(of, inside, outside):
    within = declared_range(getattr(ranges, of))
    assert [x for x in inside + outside + [nan] if x in within] == inside


def test_every_number_declares_its_range():
    undeclared = [
        f"{cls.__name__}.{field.name}"
        for cls, field in NUMBERS
        if declared_range(field.type) is None
    ]
    assert len(NUMBERS) > 200 and not undeclared, (
        f"Give them a type of agentic_rl/config/ranges.py: {undeclared}"
    )


def test_every_default_is_in_its_range_and_nan_is_in_none():
    for cls, field in NUMBERS:
        default, within = field.default, declared_range(field.type)
        values = (
            default
            if isinstance(default, tuple)
            else ()
            if default is dataclasses.MISSING
            else (default,)
        )
        assert all(x in within for x in values) and nan not in within, (
            f"{cls.__name__}.{field.name}"
        )


@pytest.mark.parametrize(
    "cls",
    dict.fromkeys(cls for cls, _ in NUMBERS),
    ids=lambda cls: f"{cls.__module__}.{cls.__name__}",
)
def test_what_lies_outside_is_refused_by_the_name_of_its_field(cls):
    required = {
        f.name: REQUIRED.get(f.name)
        for f in dataclasses.fields(cls)
        if f.default is dataclasses.MISSING
    }
    for field in [field for owner, field in NUMBERS if owner is cls]:
        assert outside(field)
        for x in outside(field):
            value = (x, x) if isinstance(field.default, tuple) else x
            with pytest.raises(ConfigError, match=rf"^{field.name} must (each )?be .+, not \S+\.$"):
                cls(**required | {field.name: value})


def paths(value, prefix: str = "") -> list[tuple[str, dataclasses.Field]]:
    """Returns flag and field of every number in a config."""
    flags = []
    for field in dataclasses.fields(value):
        inner, flag = getattr(value, field.name), re.sub(r"_(?=\w)", "-", f"{prefix}{field.name}")
        flags += (
            paths(inner, f"{flag}.")
            if dataclasses.is_dataclass(inner)
            else [(flag, field)] * bool(number(field.type))
        )
    return flags


@pytest.mark.slow
def test_every_number_of_a_run_is_refused_by_its_flag(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    names = "ppo", "todo"
    run = Run(named(envs)[names[1]](), getattr(algorithms, names[0].upper()))
    assert len(paths(run)) > 40
    for flag, field in paths(run):
        x = outside(field)[0]
        with pytest.raises(ConfigError) as refused:
            train.main([*names, f"--{flag}={x}"])
        assert (
            str(refused.value).startswith(f"--{flag} must be ")
            and str(refused.value).count(".\n") == 0
        )
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "words, rest",
    [
        ("--algorithm.optimizer.learning-rate -1", "must be above 0, not -1."),
        ("--algorithm.optimizer.max-grad-norm 0", "must be above 0, not 0."),
        ("--algorithm.surrogate.clip-high -1", "must be 0 or more, not -1."),
        ("--algorithm.surrogate.clip-high nan", "must be 0 or more, not nan."),
        ("--algorithm.credit.ddof 8", "must be 0 to 1, not 8."),
        ("--algorithm.entropy-coefficient inf", "must be finite, not inf."),
        ("--policy.rope-base 0", "must be 1 or more, not 0."),
        ("--policy.width 30", "(30) must be an even multiple of heads (4)"),
        ("--seed 3000000000", "must be 0 to 2147483647, not 3000000000."),
        ("--seed 2147483647 --seeds 2", "+ seeds must be 2147483648 or less, not 2147483649."),
        ("--updates 1e3", "must be a whole number, not '1e3'."),
        ("--algorithm.optimizer.learning-rate much", "must be a number, not 'much'."),
        ("--task.num-keys 4", "must be 1 to 3, not 4."),
        ("--warm-start.noise nan", "must be 0 to 1 (a probability), not nan."),
    ],
)
def test_the_sentence_names_the_flag_and_its_range(words, rest, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError) as refused:
        train.main(["grpo", "key_door", *words.split()])
    assert str(refused.value).startswith(f"{words.split()[0]} {rest}")
    assert not list(tmp_path.iterdir())


def test_infinity_stays_possible_where_it_means_no_bound():
    assert ClippedRatio(clip_low=inf, clip_high=inf).clip_high == inf
    assert Adam(max_grad_norm=inf).max_grad_norm == inf


@config
class Sample:
    rate: Positive = 1.0
    count: Count = 1
    share: Annotated[float, Range(0, below=1)] = 0.5


def test_compiled_programs_sweep_over_values_without_checks():
    sweep = jax.vmap(lambda rate: dataclasses.replace(Sample(), rate=rate).rate * 2)(
        jnp.array([1.0, -1.0])
    )
    assert sweep.tolist() == [2.0, -2.0]


def test_declared_ranges_leave_floats_data_and_whole_numbers_static():
    leaves, structure = jax.tree.flatten(Sample())
    assert leaves == [1.0, 0.5] and structure == jax.tree.structure(
        Sample(rate=2.0)
    ) != jax.tree.structure(Sample(count=2))


def test_a_fraction_where_a_whole_number_belongs_is_refused():
    with pytest.raises(ConfigError, match="^count must be a whole number, not 1.5.$"):
        Sample(count=1.5)
