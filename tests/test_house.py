"""Checks which module may import which, and who may print or touch devices and the disk.

Imports are read from the syntax trees, so that those of doctests do not count.
"""

import ast
import sys
from pathlib import Path

import pytest

from tests.layers import LAYERS

# All that these rooms may import besides their own files.
STRICT = {"credit": {"config", "types"}, "envs": {"config", "types", "tokens"}}
# A leading dot: as an attribute of anything.
DEVICES = {
    ".pmap",
    ".shard_map",
    "jax.devices",
    "jax.local_devices",
    "jax.device_count",
    "jax.local_device_count",
}
DISK = {
    "open",
    ".mkdir",
    ".write_text",
    ".write_bytes",
    ".savez",
    ".savefig",
    "orbax",
    "tensorboardX",
}

ROOT = Path(__file__).parents[1]


def trees(package: str) -> dict[Path, ast.Module]:
    """Returns the syntax tree of each file of a package, by its path in it, without suffix."""
    files = sorted((ROOT / package).rglob("*.py"))
    return {
        path.relative_to(ROOT / package).with_suffix(""): ast.parse(path.read_text())
        for path in files
    }


TREES = trees("agentic_rl")


def imports(tree: ast.AST) -> set[str]:
    """Returns the full names of all imports, wherever they stand."""
    nodes = list(ast.walk(tree))
    froms = {
        f"{'.' * n.level}{n.module}.{a.name}"
        for n in nodes
        if isinstance(n, ast.ImportFrom)
        for a in n.names
    }
    return froms | {a.name for n in nodes if isinstance(n, ast.Import) for a in n.names}


def arrows(package: str = "agentic_rl") -> list[tuple[str, str, str]]:
    """Returns (room, imported room, sentence) for each of a package's own imports."""
    named = [(path, name) for path, tree in trees(package).items() for name in imports(tree)]
    names = [(path, name.split(".")) for path, name in named if name.startswith(f"{package}.")]
    return [(path.parts[0], parts[1], f"{path} imports {'.'.join(parts)}") for path, parts in names]


def layer(package: str, room: str) -> int:
    places = [i for i, rooms in enumerate(LAYERS[package]) if room in rooms]
    assert places, (
        f"{package}/{room} is new to this test: list it in LAYERS of tests/layers.py, no lower"
        " than what it imports."
    )
    return places[0]


def mentions(words: set[str], allowed: set[str]) -> list[str]:
    """Returns a sentence for each module in which one of `words` occurs as a name or is imported.

    The rooms in `allowed` may use them.
    """
    sentences = []
    for path, tree in TREES.items():
        nodes = [n for n in ast.walk(tree) if isinstance(n, ast.Name | ast.Attribute)]
        dotted = imports(tree) | {ast.unparse(n) for n in nodes}
        heads = {name.split(".")[0] for name in dotted}
        attributes = {f".{part}" for name in dotted for part in name.split(".")[1:]}
        used = words & (dotted | heads | attributes)
        if used and path.parts[0] not in allowed:
            sentences.append(f"{path} mentions {', '.join(sorted(used))}")
    return sentences


@pytest.mark.parametrize("package", LAYERS)
def test_every_room_has_its_layer_and_every_layer_its_rooms(package):
    rooms = {path.parts[0] for path in trees(package)}
    assert all(layer(package, room) >= 0 for room in rooms) and rooms == set().union(
        *LAYERS[package]
    )


@pytest.mark.parametrize("package", LAYERS)
def test_imports_point_downwards(package):
    wrong = [
        s
        for room, imported, s in arrows(package)
        if layer(package, imported) > layer(package, room)
    ]
    assert not wrong, wrong


@pytest.mark.parametrize("package", LAYERS)
def test_no_two_rooms_import_each_other(package):
    pairs = {(room, imported) for room, imported, _ in arrows(package) if room != imported}
    assert not {pair for pair in pairs if pair[::-1] in pairs}


def test_no_module_has_the_name_of_one_of_pythons_own():
    """With `python experiments/train.py` that folder comes first in the search for modules."""
    own = {path.stem for path in (ROOT / "experiments").glob("*")}
    assert not own & sys.stdlib_module_names


def test_every_folder_says_what_lives_there():
    silent = [
        path
        for package in LAYERS
        for path in (ROOT / package).rglob("*/")
        if list(path.glob("*.py"))
    ]
    silent = [
        path
        for path in silent
        if not ast.get_docstring(ast.parse((path / "__init__.py").read_text()))
    ]
    assert not silent


def test_the_package_imports_itself_by_full_name_and_no_experiments():
    heads = [(path, name.split(".")[0]) for path, tree in TREES.items() for name in imports(tree)]
    wrong = [
        f"{path} imports from {head or 'a dot'}"
        for path, head in heads
        if head in ("", "experiments", "tests")
    ]
    assert not wrong, wrong


def test_credit_knows_no_network_and_environments_know_no_agent():
    wrong = [
        sentence
        for module, imported, sentence in arrows()
        if module in STRICT and imported not in STRICT[module] | {module}
    ]
    assert not wrong, wrong


def test_the_learner_knows_no_environment():
    wrong = [
        sentence
        for module, imported, sentence in arrows()
        if (module, imported) == ("training", "envs")
    ]
    assert not wrong, wrong


def test_only_parallel_knows_devices():
    wrong = mentions(DEVICES, allowed={"parallel"})
    assert not wrong, wrong


def test_only_the_records_of_a_run_touch_the_disk():
    wrong = mentions(DISK, allowed={"records"})
    assert not wrong, wrong


def test_only_experiments_print():
    wrong = mentions({"print"}, allowed=set())
    assert not wrong, wrong
