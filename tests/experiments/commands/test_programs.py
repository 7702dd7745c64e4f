"""The command `agentic-rl` finds its programs from any folder and answers quickly."""

import os
import shutil
import subprocess
import sys
import venv
from importlib.util import find_spec
from pathlib import Path

import pytest

import agentic_rl
from agentic_rl.config import ConfigError
from experiments import evaluate, programs, reproduce, train
from experiments.cli import console, flags, shell
from experiments.cli.program_names import RENAMED, module_of
from experiments.pages import bias_page
from experiments.studies import half_life

ROOT = Path(agentic_rl.__file__).parents[1]
START = "import sys; sys.argv[0] = 'agentic-rl'; from agentic_rl.__main__ import main; main()"
TINY = (
    "--quick --policy.width 16 --policy.layers 1 --policy.heads 2 --policy.mlp 16 "
    "--task.num-turns 2 --devices 1 "
    "--algorithm.problems 16 --algorithm.attempts 2 --algorithm.minibatches 1"
).split()


def started(
    folder: Path, *words: str, program=(sys.executable, "-P", "-c", START), path: str = f".:{ROOT}"
):
    """Returns the finished process of `agentic-rl`, started in a folder on PYTHONPATH."""
    return subprocess.run(
        [*program, *words],
        cwd=folder,
        env=os.environ | {"PYTHONPATH": path},
        capture_output=True,
        text=True,
        timeout=600,
    )


@pytest.fixture
def occupied(tmp_path) -> Path:
    """Returns a folder with files named like ours and like Python's own."""
    (tmp_path / "experiments").mkdir()
    for name in ("experiments/__init__.py", "experiments/train.py", "inspect.py", "statistics.py"):
        (tmp_path / name).write_text("raise SystemExit('this is the file of a user')")
    return tmp_path


def test_help_lists_every_command_with_what_it_does(occupied):
    done = started(occupied, "--help")
    assert (done.returncode, done.stderr) == (0, "")
    lines = dict(line.split(maxsplit=1) for line in done.stdout.splitlines()[3:])
    assert lines["train"] == "Train one algorithm on one task."
    assert {name.replace("_", "-") for name in programs.COMMANDS} | {"study"} == set(lines)


def test_help_does_not_import_jax():
    names = "'jax' in sys.modules, 'experiments.programs' in sys.modules"
    code = f"try: {START}\nexcept SystemExit: print({names})"
    done = subprocess.run(
        [sys.executable, "-c", code, "--help"], cwd=ROOT, capture_output=True, text=True, timeout=60
    )
    assert done.stdout.splitlines()[-1] == "False True"


@pytest.mark.parametrize(
    "words, sentence",
    {
        "trian": "There is no command called trian; did you mean train?",
        "study half-lfie": "There is no study called half-lfie; did you mean half-life?",
        "zzz": "There is no command called zzz; agentic-rl --help lists all.",
    }.items(),
)
def test_an_unknown_command_is_answered_with_the_nearest(words, sentence, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["agentic-rl", *words.split()])
    with pytest.raises(SystemExit) as end:
        programs.main()
    assert end.value.code == 2 and capsys.readouterr() == ("", f"error: {sentence}\n")


def test_the_studies_that_are_listed_are_those_that_reproduce_runs():
    assert programs.studies() == sorted(reproduce.studies())


@pytest.mark.parametrize(
    "words",
    [
        "sl-vs-rl --quick --out x",
        "sl_vs_rl --quick --out x",
        "study half-life --quick",
        "half_life --quick",
    ],
)
def test_a_command_is_given_the_other_words(words, monkeypatch):
    name, seen = "half_life" if "half" in words else "sl_vs_rl", []
    monkeypatch.setattr(sys, "argv", ["agentic-rl", *words.split()])
    monkeypatch.setattr(
        programs, "program", lambda name: lambda arguments: seen.append((name, arguments))
    )
    with pytest.raises(SystemExit):
        programs.main()
    assert seen == [(name, words.split()[words.split().index("--quick") :])]


@pytest.mark.parametrize("old", RENAMED)
def test_the_old_name_of_a_program_runs_the_new_program(old, monkeypatch):
    started = []
    monkeypatch.setattr(sys, "argv", ["agentic-rl", old.replace("_", "-"), "--flag", "x"])
    monkeypatch.setattr(
        programs, "program", lambda name: lambda arguments: started.append((name, arguments))
    )
    with pytest.raises(SystemExit):
        programs.main()
    assert started == [(RENAMED[old], ["--flag", "x"])]
    assert find_spec(module_of(RENAMED[old])) and not find_spec(f"experiments.{old}")


def test_programs_are_the_main_functions_and_the_studies():
    assert programs.program("evaluate") is evaluate.main
    assert programs.program("half_life").args == (half_life.HalfLife(),)


@pytest.mark.parametrize(
    "started_as, train_, study",
    [
        ("/venv/bin/agentic-rl", "agentic-rl train a", "agentic-rl study half-life a"),
        ("C/Scripts/agentic-rl.exe", "agentic-rl train a", "agentic-rl study half-life a"),
        (
            "/lib/agentic_rl/__main__.py",
            "python -m agentic_rl train a",
            "python -m agentic_rl study half-life a",
        ),
        (
            "/repo/experiments/train.py",
            "python -m experiments.train a",
            "python -m experiments.studies.half_life a",
        ),
    ],
)
def test_printed_commands_have_the_form_in_which_the_program_was_started(
    started_as, train_, study, monkeypatch
):
    monkeypatch.setattr(sys, "argv", [started_as])
    assert shell.command("train", "a") == train_ and shell.command("half_life", "a") == study


def test_usage_shows_the_form_in_which_the_program_was_started(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["/venv/bin/agentic-rl"])
    with pytest.raises(SystemExit):
        flags.from_flags(evaluate.Command, evaluate.Command("x"), ["--help"])
    assert capsys.readouterr().out.startswith("usage: agentic-rl evaluate [-h]")
    assert train.main(["--help"]) == 0
    assert (
        "agentic-rl train grpo running_sum" in (out := capsys.readouterr().out)
        and "python -m" not in out
    )


def test_pages_of_the_repository_are_written_in_a_checkout_only(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(
        ConfigError,
        match="^results/bias is a place in the repository: run this in a checkout of it",
    ):
        bias_page.main([])
    assert not list(tmp_path.iterdir())


def test_a_home_folder_that_the_shell_left_is_expanded(monkeypatch):
    monkeypatch.setenv("HOME", "/home/me")
    monkeypatch.setattr(sys, "argv", ["x", "--run-dir=~/a b", "~/runs", "~", "a~", "--name=~me"])
    seen = []
    with pytest.raises(SystemExit):
        console.main(seen.extend)
    assert seen == ["--run-dir=/home/me/a b", "/home/me/runs", "/home/me", "a~", "--name=~me"]


@pytest.fixture(scope="module")
def installed(tmp_path_factory) -> Path:
    """Returns the script `agentic-rl` of a wheel, installed beside this environment's packages."""
    folder = tmp_path_factory.mktemp("wheel")
    source = shutil.copytree(
        ROOT,
        folder / "source",
        ignore=shutil.ignore_patterns(".*", "runs", "results", "notebooks", "*.egg-info"),
    )
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "-q"]
    subprocess.run([*pip, "wheel", "--no-deps", "-w", folder, source], check=True, timeout=300)
    venv.create(folder / "venv", with_pip=False)
    packages = next((folder / "venv").glob("lib/python*/site-packages"))
    (packages / "others.pth").write_text(next(p for p in sys.path if p.endswith("site-packages")))
    python = folder / "venv" / "bin" / "python"
    (wheel,) = folder.glob("*.whl")
    subprocess.run(
        [*pip, "--python", python, "install", "--no-deps", "--no-index", wheel],
        check=True,
        timeout=300,
    )
    return folder / "venv" / "bin" / "agentic-rl"


@pytest.mark.slow
@pytest.mark.parametrize("path", ["", "."], ids=["", "PYTHONPATH=."])
def test_a_wheel_works_in_a_folder_with_files_of_the_same_names(installed, occupied, path):
    def call(*words):
        done = started(occupied, *words, program=[installed], path=path)
        assert done.returncode == 0, done.stderr
        return done.stdout

    out = call("train", "grpo", "running_sum", *TINY, "--run-dir", "my run")
    assert f"more: agentic-rl evaluate '{occupied / 'my run'}'" in out
    assert "sampled" in call(
        "evaluate",
        "my run",
        *"--episodes 64 --attempts 4 --horizons 1 --splits test --no-shifts --devices 1".split(),
    )
    assert "running_sum" in call("compare", "my run", "--out", "compared")
    assert "start with" in call("watch", "--policy", "my run", "--episodes", "1")
    assert "credit" in call("inspect", "my run", "--forks", "4")


@pytest.mark.slow
def test_a_wheel_reproduces_studies_in_an_empty_folder(installed, occupied):
    done = started(
        occupied,
        *"reproduce --quick --only grpo_biases --out all".split(),
        program=[installed],
        path="",
    )
    assert done.returncode == 0, done.stderr
    assert (occupied / "all" / "index.html").exists() and (
        occupied / "all" / "grpo_biases" / "made_by.json"
    ).exists()
