"""Which module may know which: the arrows of the package, read from its syntax trees (so a doctest's imports do not count)."""

import ast
from pathlib import Path

LAYERS = (
    {"__init__", "ranges", "config", "registry", "types", "tokens", "streams", "budgets", "progress"},
    {"envs", "problems", "layout", "policy", "acting", "credit", "surrogates", "losses", "kl", "optimizer", "metrics", "parallel", "graph"}
    | {
        "records",
        "checkpoints",
        "tensorboard",
        "tags",
        "panels",
        "hparams",
        "provenance",
        "log",
        "lock",
        "disk",
        "atomic",
        "background",
        "thinning",
    },
    {"sampler", "rewards", "selection", "renamed", "scaffolds"},
    {"rollout"},
    {"forks", "evaluate", "transcript", "exact"},
    {"values", "truth"},
    {"algorithms"},
    {"experience", "presets", "stalls"},
    {"learner"},
    {"run", "result"},
    {"machine"},
    {"starts"},
    {"train"},
    {"__main__"},
)  # bottom to top: a module may import from its own layer and from those below
STRICT = {
    "credit": {"config", "ranges", "types"},
    "envs": {"config", "ranges", "types", "tokens"},
}  # all they may import besides their own files
# A leading dot: as an attribute of anything.
DEVICES = {".pmap", ".shard_map", "jax.devices", "jax.local_devices", "jax.device_count", "jax.local_device_count"}
DISK = {"open", ".mkdir", ".write_text", ".write_bytes", ".savez", ".savefig", "orbax", "tensorboardX"}

PACKAGE = Path(__file__).parents[1] / "agentic_rl"
TREES = {path.relative_to(PACKAGE).with_suffix(""): ast.parse(path.read_text()) for path in sorted(PACKAGE.rglob("*.py"))}


def imports(tree: ast.AST) -> set[str]:
    """Full names of what is imported, wherever the import stands."""
    nodes = list(ast.walk(tree))
    froms = {f"{'.' * n.level}{n.module}.{a.name}" for n in nodes if isinstance(n, ast.ImportFrom) for a in n.names}
    return froms | {a.name for n in nodes if isinstance(n, ast.Import) for a in n.names}


def arrows() -> list[tuple[str, str, str]]:
    """(module, imported module, sentence) of the package's own imports; a folder counts as one module."""
    names = [(path, name.split(".")) for path, tree in TREES.items() for name in imports(tree) if name.startswith("agentic_rl.")]
    return [(path.parts[0], parts[1], f"{path} imports {'.'.join(parts)}") for path, parts in names]


def layer(module: str) -> int:
    places = [i for i, modules in enumerate(LAYERS) if module in modules]
    assert places, f"agentic_rl/{module} is new to this test: list it in LAYERS of tests/test_house.py, no lower than what it imports."
    return places[0]


def mentions(words: set[str], allowed: set[str]) -> list[str]:
    """A sentence for each module, other than `allowed`, in which one of `words` occurs as a name or is imported."""
    found = []
    for path, tree in TREES.items():
        dotted = imports(tree) | {ast.unparse(n) for n in ast.walk(tree) if isinstance(n, ast.Name | ast.Attribute)}
        heads, attributes = {name.split(".")[0] for name in dotted}, {f".{part}" for name in dotted for part in name.split(".")[1:]}
        used = words & (dotted | heads | attributes)
        found += [f"{path} mentions {', '.join(sorted(used))}"] if used and path.parts[0] not in allowed else []
    return found


def test_every_module_has_its_layer():
    assert {layer(path.parts[0]) for path in TREES} >= {0, 1}


def test_imports_point_downwards():
    wrong = [said for module, imported, said in arrows() if layer(imported) > layer(module)]
    assert not wrong, wrong


def test_imports_within_the_package_are_by_full_name_and_never_of_experiments_or_tests():
    heads = [(path, name.split(".")[0]) for path, tree in TREES.items() for name in imports(tree)]
    wrong = [f"{path} imports from {head or 'a dot'}" for path, head in heads if head in ("", "experiments", "tests")]
    assert not wrong, wrong


def test_credit_knows_no_network_and_no_environment_and_environments_know_no_agent():
    wrong = [said for module, imported, said in arrows() if module in STRICT and imported not in STRICT[module] | {module}]
    assert not wrong, wrong


def test_the_learner_knows_no_environment():
    wrong = [said for module, imported, said in arrows() if (module, imported) == ("learner", "envs")]
    assert not wrong, wrong


def test_only_parallel_knows_devices():
    wrong = mentions(DEVICES, allowed={"parallel"})
    assert not wrong, wrong


def test_only_the_records_of_a_run_touch_the_disk():
    wrong = mentions(DISK, allowed={"records", "checkpoints", "tensorboard", "log", "lock", "atomic"})
    assert not wrong, wrong


def test_only_experiments_print():
    wrong = mentions({"print"}, allowed=set())
    assert not wrong, wrong
