"""The numbers of a checkout, to the bit: for moving walls without moving numbers.

    python tests/golden.py record before.json             # what training computes in this checkout
    python tests/golden.py record before.json --studies   # and the --quick tables of all studies
    python tests/golden.py compare before.json after.json

A record holds, for a few updates of every algorithm with a tiny policy, the logged metrics and a
hash of each array of the state; for each study, its tables without the columns that a clock fills.
It goes through the commands, which keep their names, so one recorder can record two commits. An
interrupted recording goes on.
"""

import argparse
import contextlib
import csv
import hashlib
import io
import itertools
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

TASKS = {
    "chain_pit": ["--task.num-turns", "4"],
    "running_sum": ["--task.num-turns", "3", "--task.modulus", "4"],
    "key_door": [],
}
CONTEXTS = ("markov", "history")
TWO_DEVICES = ("grpo", "ppo", "vineppo")  # recorded on two devices as well
SIZES = """
    --policy.width 16 --policy.layers 1 --policy.heads 2 --policy.mlp 32 --updates 2 --chunk 2
    --eval-every 2 --eval-episodes 32 --checkpoint-every 2 --algorithm.problems 16 --micro-batch 8
""".split()
CLOCKS = ("time", "seconds", "time/", "wall")  # metrics and columns that a clock fills
RENAMED = {"row": "algorithm"}  # columns that have another name now
Record = dict[str, Any]


def record_all(file: Path, studies: bool) -> None:
    """Writes the file, which grows by a run, or by a study, at a time."""
    from agentic_rl import algorithms, presets

    named = getattr(algorithms, "by_name", None) or algorithms.rows  # its name in older commits
    runs = [(name, 1) for name in [*named(), *presets.PRESETS]] + [
        (name, 2) for name in TWO_DEVICES
    ]
    for algorithm, devices in runs:  # in processes: programs pile up, and devices are set once
        words = ["record", str(file), "--only", algorithm, "--devices", str(devices)]
        environment = os.environ | {"PYTHONPATH": os.getcwd()}
        subprocess.run([sys.executable, __file__, *words], check=True, env=environment)
    for study, table in measure_studies(file.with_suffix("")) if studies else ():
        keep(file, f"study|{study}", lambda table=table: table)


def record(file: Path, algorithm: str, devices: int) -> None:
    """Adds what the file lacks of an algorithm: all tasks in both contexts; of a preset one."""
    from agentic_rl import presets

    tasks = ["running_sum"] if algorithm in presets.PRESETS else list(TASKS)
    for task, context in itertools.product(tasks, CONTEXTS):
        name = f"{algorithm}|{task}|{context}|{devices}"
        keep(file, name, lambda: train(algorithm, task, context, devices))


def keep(file: Path, name: str, make: Callable[[], Record]) -> None:
    """Adds a record to the file if it is not there yet."""
    found = json.loads(file.read_text()) if file.exists() else {}
    if name not in found:
        found[name] = make()
        file.with_suffix(".tmp").write_text(json.dumps(found))
        file.with_suffix(".tmp").rename(file)
        print(name, found[name].get("refused", ""), flush=True)


def train(algorithm: str, task: str, context: str, devices: int) -> Record:
    """Returns metrics and hashed state after a few updates, or the sentence of a refusal."""
    from agentic_rl.config import ConfigError
    from experiments import train

    with tempfile.TemporaryDirectory() as folder:
        run = Path(folder) / "run"
        words = [algorithm, task, *TASKS[task], *SIZES, "--policy.context", context]
        words += ["--devices", str(devices), "--run-dir", str(run)]
        try:
            with (
                contextlib.redirect_stdout(io.StringIO()),
                contextlib.redirect_stderr(io.StringIO()),
            ):
                train.main(words)
        except ConfigError as refusal:
            return {"refused": str(refusal)}
        entries = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
        metrics = [{k: v for k, v in entry.items() if k not in CLOCKS} for entry in entries]
        return {"metrics": metrics, "state": hash_state(run)}


def hash_state(run: Path) -> dict[str, str]:
    """Returns a hash of each array of the newest checkpoint, by its path."""
    import jax
    import numpy as np
    import orbax.checkpoint as ocp

    options = ocp.CheckpointManagerOptions(read_only=True)
    with ocp.CheckpointManager((run / "checkpoints").absolute(), options=options) as manager:
        tree = manager.restore(manager.latest_step(), args=ocp.args.StandardRestore())
    leaves = jax.tree.flatten_with_path(tree)[0]
    named = {jax.tree_util.keystr(path, simple=True, separator="/"): x for path, x in leaves}
    return {k: hashlib.sha256(np.asarray(x).tobytes()).hexdigest()[:16] for k, x in named.items()}


def measure_studies(folder: Path) -> Iterator[tuple[str, Record]]:
    """Yields each study's name and its --quick tables, without what a clock fills."""
    words = ["-m", "experiments.reproduce", "--quick", "--jobs", "2", "--out", str(folder)]
    environment = os.environ | {"PYTHONPATH": os.getcwd()}
    subprocess.run([sys.executable, *words], check=True, env=environment)
    for study in sorted(path for path in folder.iterdir() if path.is_dir()):
        tables = {file.name: read_table(file) for file in sorted(study.glob("*.csv"))}
        yield study.name, {"tables": tables}


def read_table(file: Path) -> list[dict[str, str]]:
    """Returns the lines of a CSV, without the columns that a clock fills."""
    with open(file, newline="") as lines:
        entries = list(csv.DictReader(lines))
    return [{k: v for k, v in e.items() if not any(c in k for c in CLOCKS)} for e in entries]


def differences(first: Path, second: Path) -> list[str]:
    """Returns a line for each record that is not equal in two files, or is in one of them only."""
    before, after = (json.loads(file.read_text()) for file in (first, second))
    lines = [f"{name}: only in one" for name in sorted(before.keys() ^ after.keys())]
    for name in sorted(before.keys() & after.keys()):
        a, b = flatten(before[name]), flatten(after[name])
        keys = sorted(a.keys() | b.keys())
        unequal = [key for key in keys if a.get(key, "absent") != b.get(key, "absent")]
        if unequal:
            key = unequal[0]
            values = f"{a.get(key, 'absent')} before, {b.get(key, 'absent')} after"
            lines.append(f"{name}: {len(unequal)} of {len(keys)} differ, first {key}: {values}")
    return lines


def flatten(tree: Any, path: str = "") -> dict[str, str]:
    """Returns the leaves of nested lists and dicts by their path, as text: NaN equals NaN."""
    if isinstance(tree, dict):
        branches = {RENAMED.get(name, name): branch for name, branch in tree.items()}
    elif isinstance(tree, list):
        branches = dict(enumerate(tree))
    else:
        return {path: repr(tree)}
    leaves = [flatten(branch, f"{path}/{name}") for name, branch in branches.items()]
    return {name: leaf for part in leaves for name, leaf in part.items()}


def main() -> int:
    """Records or compares, as the command line asks; returns 1 if there are differences."""
    raw = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=raw)
    parser.add_argument("what", choices=["record", "compare"])
    parser.add_argument("files", nargs="+", type=Path)
    parser.add_argument("--studies", action="store_true")
    parser.add_argument("--only", help="an algorithm")
    parser.add_argument("--devices", type=int, default=1)
    arguments = parser.parse_args()
    if arguments.what == "compare":
        lines = differences(*arguments.files)
        print(*lines, f"{len(lines)} records differ", sep="\n")
        return 1 if lines else 0
    prepare()
    if arguments.only:
        record(arguments.files[0], arguments.only, arguments.devices)
    else:
        record_all(arguments.files[0].absolute(), arguments.studies)
    return 0


def prepare() -> None:
    """Sets up the process: this checkout, and nothing that costs time but changes no number."""
    sys.path.insert(0, os.getcwd())
    flags = os.environ.get("XLA_FLAGS", "")
    os.environ["XLA_FLAGS"] = f"{flags} --xla_backend_optimization_level=0"
    from tensorboardX import SummaryWriter

    SummaryWriter.add_figure = lambda *arguments, **options: None  # half of a tiny run's time


if __name__ == "__main__":
    sys.exit(main())
