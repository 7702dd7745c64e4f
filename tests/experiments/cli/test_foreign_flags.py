"""Flags of other frameworks and of older versions are answered with flags that there are."""

import re
from functools import cache

import pytest

from agentic_rl import algorithms
from agentic_rl.config import named
from agentic_rl.envs.running_sum import RunningSum
from agentic_rl.training.run import Run
from experiments import sl_vs_rl, train
from experiments.cli import flags
from experiments.cli.flag_errors import explain_unknown, flag_names
from experiments.cli.foreign_flags import NAMES, RENAMED_FLAGS, SAME, answer, plain

PART = rf"--({'|'.join(flags.PARTS)}) ([a-z_]+)(?: or ([a-z_]+))?"


@cache
def flags_of(algorithm):
    """Returns the flags of a run of the algorithm."""
    return flag_names(train.Command(Run(RunningSum(), algorithm)))


def every_flag():
    """Returns the flags of all algorithms' runs, and of all parts that can be swapped."""
    swapped = [
        (part, cls) for part, package in flags.PARTS.items() for cls in named(package).values()
    ]
    owned = {f"{part}.{name}" for part, cls in swapped for name in flag_names(cls())}
    return owned | {flag for one in algorithms.by_name().values() for flag in flags_of(one)}


def test_every_flag_that_is_meant_is_one_of_some_run():
    known = [f".{plain(flag)}" for flag in every_flag()]
    unknown = [
        field
        for fields, _ in NAMES.values()
        for field in fields
        if not any(k.endswith(f".{plain(field)}") for k in known)
    ]
    assert not unknown


@pytest.mark.parametrize("name", NAMES)
def test_each_is_answered_with_flags_of_the_run_or_with_what_sets_it(name):
    known, said = flags_of(algorithms.GRPO), answer(f"--{name}=1", flags_of(algorithms.GRPO))
    assert said
    if said.startswith("write "):
        assert {flag.removeprefix("--") for flag in re.findall(r"--\S+", said)} <= set(known)


@pytest.mark.parametrize(
    "name", [name for name, (_, otherwise) in NAMES.items() if re.search(PART, otherwise)]
)
def test_a_part_that_is_said_to_have_a_field_has_it(name):
    fields, otherwise = NAMES[name]
    for part, *words in re.findall(PART, otherwise):
        for word in filter(None, words):
            known = [
                f".{part}.{plain(flag)}" for flag in flag_names(named(flags.PARTS[part])[word]())
            ]
            assert any(flag.endswith(f".{plain(field)}") for flag in known for field in fields), (
                part,
                word,
            )


@pytest.mark.parametrize("other", SAME)
def test_other_words_for_the_same_have_the_same_answer(other):
    assert SAME[other] in NAMES and answer(f"--{other}", flags_of(algorithms.PPO)) == answer(
        f"--{SAME[other]}", flags_of(algorithms.PPO)
    )


def test_nobody_knows_every_flag():
    assert answer("--num-critics", flags_of(algorithms.PPO)) == ""


def test_the_old_name_of_a_flag_is_answered_with_its_new_name():
    assert RENAMED_FLAGS["rows"] == "algorithms"
    sentence = explain_unknown("--rows=sft,ppo", sl_vs_rl.Command(), flags.PARTS)
    assert sentence == "There is no flag --rows=sft,ppo here; it is called --algorithms now."


def test_the_old_name_is_no_answer_where_there_is_no_such_flag():
    assert answer("--rows", ["updates"]) == ""
