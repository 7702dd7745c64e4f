"""Adding a task, a credit assignment or a study touches one file: the examples of the docs, dropped
into a copy of the packages, are found, tested and used."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


def example(page: str) -> str:
    """Returns the first whole file that a page shows: its first block of Python."""
    return re.search(r"^```python\n(.*?)^```", (ROOT / page).read_text(), re.DOTALL | re.MULTILINE)[
        1
    ]


@pytest.fixture
def copy(tmp_path):
    for folder in ("agentic_rl", "experiments", "tests"):
        ignored = shutil.ignore_patterns("__pycache__")
        shutil.copytree(ROOT / folder, tmp_path / folder, ignore=ignored)
    shutil.copy(ROOT / "setup.cfg", tmp_path)
    return tmp_path


def run(copy, *command):
    words = [sys.executable, "-m", *command]
    return subprocess.run(words, cwd=copy, capture_output=True, text=True)


def passed(copy, *words):
    tested = run(copy, "pytest", "-q", "-p", "no:xdist", *words)
    return tested.returncode == 0 and "passed" in tested.stdout, tested.stdout[-2000:]


def test_a_new_file_is_a_new_task_that_is_tested_and_can_be_watched(copy):
    (copy / "agentic_rl" / "envs" / "backwards.py").write_text(example("docs/write_a_task.md"))
    tests = ("tests/envs/test_contract.py", "agentic_rl/envs/backwards.py", "-k", "ackwards")
    is_green, said = passed(copy, *tests)
    assert is_green, said
    watched = run(copy, "experiments.watch", "backwards", "--policy", "expert", "--episodes", "1")
    assert watched.returncode == 0 and "success, return 1.0" in watched.stdout, watched.stderr


@pytest.mark.slow
def test_a_new_file_is_a_new_credit_that_is_tested_and_can_be_trained_with(copy):
    (copy / "agentic_rl" / "credit" / "median.py").write_text(example("README.md"))
    chosen = ("tests/credit/test_credit.py", "-k", "no_credit and (padding or order)")
    is_green, said = passed(copy, *chosen)
    assert is_green, said
    words = "grpo chain_pit --credit above_median --algorithm.credit.scale 2 --quick".split()
    words += "--task.num-turns 2 --devices 1 --run-dir run".split()
    trained = run(copy, "experiments.train", *words)
    is_trained = trained.returncode == 0 and "success on unseen problems" in trained.stdout
    assert is_trained, trained.stderr[-2000:]


@pytest.mark.slow
def test_a_new_file_is_a_new_study_that_is_found_measured_and_judged(copy):
    study = copy / "experiments" / "studies" / "careless_demos.py"
    study.write_text(example("docs/write_a_study.md"))
    words = "--quick --out out/careless_demos".split()
    measured = run(copy, "experiments.studies.careless_demos", *words)
    assert measured.returncode == 0, measured.stderr[-2000:]
    words = "--no-measure --only careless_demos --out out".split()
    gathered = run(copy, "experiments.reproduce", *words)
    assert gathered.returncode == 0, gathered.stderr[-2000:]
    assert "A clone imitates mistakes as well" in (copy / "out" / "README.md").read_text()
