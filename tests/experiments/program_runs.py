"""Helpers for tests that run programs: tiny runs, and what a user's mistake must end in."""

import json
from pathlib import Path

TINY = (
    "--policy.width 16 --policy.layers 1 --policy.heads 2 --policy.mlp 16 "
    "--warm-start.learning-rate 0.02 --devices 1 "
    "--task.num-turns 2 --task.modulus 2 --task.reward per_turn "
    "--algorithm.problems 16 --algorithm.attempts 2 "
    "--algorithm.minibatches 1 --algorithm.epochs 1"
).split()
QUICK = ["grpo", "running_sum", "--quick", *TINY]

ROOT = Path(__file__).parents[2]


def contents(path: Path) -> dict[str, bytes]:
    """Returns the contents of all files below a folder, by their path in it."""
    files = [file for file in path.rglob("*") if file.is_file()]
    return {str(file.relative_to(path)): file.read_bytes() for file in files}


def assert_one_sentence(outcome: tuple[int, str, str], *words: str) -> None:
    """Asserts that a program ended with exit code 2 and one sentence that has these words."""
    code, _, err = outcome
    assert code == 2
    assert err.startswith("error: ") and err.endswith(".\n") and err.count("\n") == 1, err
    assert "Traceback" not in err, err
    assert all(word in err for word in words), err


def sums_as_json_lines(count: int = 100) -> str:
    """Returns a file of JSON lines that asks for i+i, from 0 on."""
    rows = [{"prompt": f"{i}+{i}=", "answer": 2 * i} for i in range(count)]
    return "".join(json.dumps(row) + "\n" for row in rows)
