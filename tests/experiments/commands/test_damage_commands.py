"""On a run with a damaged file every command works or says one sentence, and erases nothing."""

import shutil
import sys
from pathlib import Path

import pytest

from experiments import compare, evaluate, inspect_episode, train, watch
from experiments.cli import console
from tests.damage import CASES, DAMAGE
from tests.experiments.program_runs import TINY, contents

EVALUATE = "--episodes 16 --attempts 2 --horizons 1 --devices 1".split()
WITHOUT_RATE = [word for word in TINY if "warm-start" not in word and word != "0.02"]
START = ["grpo", "running_sum", "--quick", *WITHOUT_RATE, "--warm-start.checkpoint"]
COMMANDS = {
    "evaluate": lambda path: (evaluate, path, *EVALUATE),
    "compare": lambda path: (compare, path),
    "watch": lambda path: (watch, "--policy", path, "--episodes", 1),
    "inspect": lambda path: (inspect_episode, path, "--attempts", 2, "--forks", 2),
    "resume": lambda path: (train, "--resume", path),
    "start": lambda path: (train, *START, path, "--run-dir", f"{path}.new"),
}


def run_program(capfd, program, *arguments):
    sys.argv[1:] = [str(x) for x in arguments]
    with pytest.raises(SystemExit) as end:
        console.main(program.main)
    return end.value.code or 0, *capfd.readouterr()


def complaints(capfd, command: str, path: Path, case: tuple[str, str]) -> list[str]:
    """Returns what is wrong with how the command takes this damage."""
    file, how = case[0].replace("checkpoints/3", "checkpoints/10"), case[1]
    if not (path / file).exists():
        return []
    DAMAGE[how](path / file)
    before = contents(path)
    code, out, err = run_program(capfd, *COMMANDS[command](path))
    after = contents(path)
    kept = before if command != "resume" or code else {"config.json": before.get("config.json")}
    changed = [name for name in kept if after.get(name) != kept[name]]
    errors = [line for line in err.splitlines() if line.startswith("error: ")]
    wrong = {
        f"exit code {code}": code not in (0, 2),
        "a traceback": "Traceback" in out + err,
        f"not one sentence: {errors}": len(errors) != (code == 2)
        or any(not error.endswith(".") for error in errors),
        f"erased or changed: {changed}": bool(changed),
    }
    return [f"{command}, {file} {how}: {what}" for what, is_so in wrong.items() if is_so]


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("is_finished", [True, False], ids=["finished", "interrupted"])
@pytest.mark.parametrize("command", COMMANDS)
def test_no_command_ends_in_a_traceback_or_erases_anything(
    finished, tmp_path, monkeypatch, capfd, command, is_finished
):
    monkeypatch.setattr(sys, "argv", ["program"])
    monkeypatch.setattr(sys, "unraisablehook", sys.unraisablehook)
    found = []
    for i, case in enumerate(CASES):
        path = Path(shutil.copytree(finished, tmp_path / str(i)))
        if not is_finished:
            (path / "result.json").unlink()
        found += complaints(capfd, command, path, case)
    assert not found, "\n".join(found)
