"""Runs written before classes moved into their present modules still load."""

import importlib
import json
from pathlib import Path

import pytest

import agentic_rl.envs
from agentic_rl import algorithms, presets
from agentic_rl.config import from_json, named, to_json
from agentic_rl.config.moved import MOVED, current_path
from agentic_rl.training.run import Run

FIXTURES = Path(__file__).parents[1] / "fixtures"
OLD_PATHS = (FIXTURES / "class_paths.txt").read_text().split()  # of November 2026
OLD_NAMES = {new: old for old, new in MOVED.items()}
CONFIGS = algorithms.by_name() | presets.PRESETS
CONFIGS |= {name: task() for name, task in named(agentic_rl.envs).items()}


def with_old_paths(stored):
    """Returns a stored config in which every class has the path of before the move."""
    if isinstance(stored, list):
        return [with_old_paths(x) for x in stored]
    if not isinstance(stored, dict):
        return stored
    fields = {name: with_old_paths(x) for name, x in stored.items()}
    if "class" in stored:
        module, _, name = stored["class"].rpartition(".")
        fields["class"] = f"{OLD_NAMES.get(module, module)}.{name}"
    return fields


def classes_in(stored) -> set[str]:
    """Returns the paths of all classes that a stored config names."""
    if not isinstance(stored, dict):
        return set()
    inner = [classes_in(x) for x in stored.values()]
    return set().union({stored["class"]} if "class" in stored else set(), *inner)


@pytest.mark.parametrize("path", OLD_PATHS)
def test_every_class_is_found_by_its_path_of_before_the_move(path):
    module, _, name = current_path(path).rpartition(".")
    cls = getattr(importlib.import_module(module), name)
    assert (cls.__module__, cls.__qualname__) == (module, name)


@pytest.mark.parametrize("name", CONFIGS)
def test_algorithms_presets_and_tasks_load_by_their_old_paths(name):
    stored = json.loads(json.dumps(to_json(CONFIGS[name])))
    old = with_old_paths(stored)
    assert from_json(old) == CONFIGS[name] and to_json(from_json(old)) == to_json(CONFIGS[name])


def test_the_old_paths_are_those_of_the_old_run():
    stored = json.loads((FIXTURES / "old_run" / "config.json").read_text())["config"]
    run = from_json(stored)
    assert isinstance(run, Run) and run.algorithm.name == "grpo"
    assert classes_in(stored) <= {*OLD_PATHS}
    assert classes_in(with_old_paths(to_json(run))) == classes_in(stored)
