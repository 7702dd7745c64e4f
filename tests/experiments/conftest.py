"""Fixtures that tests of programs and of studies share."""

import shutil
import sys
from pathlib import Path

import pytest

from agentic_rl import parallel
from experiments import train
from experiments.cli import console, progress
from experiments.harness import study
from tests.experiments.program_runs import QUICK


@pytest.fixture
def study_folder(tmp_path, monkeypatch):
    """Returns a folder for a study's results, and leaves jax as it is set up in this process."""
    monkeypatch.setattr(study.parallel, "prepare", lambda devices: None)
    monkeypatch.setattr(study.console, "keep_compiled_programs", lambda: None)
    return tmp_path / "out"


@pytest.fixture(scope="module")
def keep_process():
    """Keeps what a program sets for its whole process: devices and the compilation cache.

    On a busy machine, too, no line of progress is shown beside an error.
    """
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(parallel, "prepare", lambda devices: None)
        patch.setattr(console, "keep_compiled_programs", lambda: None)
        patch.setattr(progress, "SHORT", 600.0)
        yield


@pytest.fixture
def call(keep_process, monkeypatch, capsys, tmp_path):
    """Returns a function that runs a program in an empty folder.

    It returns the exit code, stdout and stderr.
    """
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")

    def run(program, *arguments):
        monkeypatch.setattr(sys, "argv", ["program", *map(str, arguments)])
        monkeypatch.setattr(sys, "unraisablehook", sys.unraisablehook)  # put back afterwards
        with pytest.raises(SystemExit) as end:
            console.main(program.main)
        return end.value.code or 0, *capsys.readouterr()

    return run


@pytest.fixture(scope="module")
def finished(keep_process, tmp_path_factory):
    """Returns the directory of a finished run; tests that could change it take `copy`."""
    path = tmp_path_factory.mktemp("programs") / "tiny"
    assert train.main([*QUICK, "--run-dir", str(path)]) == 0
    return path


@pytest.fixture
def copy(finished, tmp_path):
    """Returns a copy of the finished run's directory."""
    return Path(shutil.copytree(finished, tmp_path / "copy"))
