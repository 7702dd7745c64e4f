"""The commands run as files, too: `python experiments/train.py grpo running_sum`.

Python then puts experiments/ first on the path, where no file may hide a module of others.
"""

import os
import re
import subprocess
import sys

import pytest

from experiments.cli.program_names import COMMANDS
from tests.experiments.program_runs import ROOT

FOLDER = ROOT / "experiments"
HELP = """
import contextlib, io, runpy, sys
sys.path.insert(0, sys.argv[1])
for file in sys.argv[2:]:
    sys.argv = [file, "--help"]
    out = io.StringIO()
    try:
        with contextlib.redirect_stdout(out):
            runpy.run_path(file, run_name="__main__")
    except SystemExit as end:
        print(file, end.code, " ".join(out.getvalue().split()))
"""


def run_python(tmp_path, *words):
    """Runs Python in an empty folder, with the checkout on PYTHONPATH; returns its output."""
    done = subprocess.run(
        [sys.executable, *map(str, words)],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.slow
def test_train_runs_as_a_file(tmp_path):
    words = FOLDER / "train.py", "grpo", "running_sum", "--print-config"
    assert '"updates": 200' in run_python(tmp_path, *words)


def test_every_command_answers_help_as_a_file(tmp_path):
    files = [FOLDER / f"{name}.py" for name in COMMANDS]
    lines = run_python(tmp_path, "-c", HELP, FOLDER, *files).splitlines()
    for file, line in zip(files, lines, strict=True):
        assert line.startswith(f"{file} 0 ")
        assert f"python -m experiments.{file.stem} " in line
        assert not re.search(r"__main__|experiments\.studies\.(train|evaluate|inspect)", line)


@pytest.mark.parametrize(
    "folder", ["", "cli", "own_data", "harness", "reports", "studies", "pages"]
)
def test_no_file_has_the_name_of_a_module_of_python(folder):
    names = {file.stem for file in (FOLDER / folder).iterdir()}
    assert not names & set(sys.stdlib_module_names)
