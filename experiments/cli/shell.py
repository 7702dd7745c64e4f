"""Shell commands that the programs print for their user, or run themselves."""

import re
import shlex
import sys
from pathlib import Path

import agentic_rl
from experiments.cli import program_names


def command(program: str, *words: object) -> str:
    """Returns the shell command of a program of this package, in the form that the user typed.

    >>> command("evaluate", "runs/my first run")
    "python -m experiments.evaluate 'runs/my first run'"
    """
    started = Path(sys.argv[0])
    is_command = program in (*program_names.COMMANDS, *program_names.PAGES)
    name = [*([] if is_command else ["study"]), program.replace("_", "-")]
    if started.stem == "agentic-rl":
        start = ["agentic-rl", *name]
    elif (started.parent.name, started.name) == ("agentic_rl", "__main__.py"):
        start = ["python", "-m", "agentic_rl", *name]
    else:
        start = ["python", "-m", program_names.module_of(program)]
    return shlex.join([*start, *map(str, words)])


def tensorboard_command(folder: object) -> str:
    """Returns the shell command that shows the runs in a folder.

    >>> tensorboard_command("runs/my first run")
    "tensorboard --logdir 'runs/my first run'"
    """
    return shlex.join(["tensorboard", "--logdir", str(folder)])


def rewrite_commands(text: str) -> str:
    """Returns the text with its commands in the form that the user typed to start this program.

    >>> rewrite_commands("Try `python -m experiments.train --help`.")
    'Try `python -m experiments.train --help`.'
    """
    pattern = r"python -m experiments\.(?:\w+\.)?(\w+)"
    return re.sub(pattern, lambda match: command(match[1]), text)


def child_process(program: str, *words: object) -> list[str]:
    """Returns the arguments for `subprocess` that run a program of this installation.

    They work from any folder, also from one that holds a package of the name `experiments`.
    """
    start = "import sys; sys.path.append(sys.argv.pop(1)); "
    start += "from agentic_rl.__main__ import main; main()"
    home = Path(agentic_rl.__file__).parents[1]
    return [sys.executable, "-P", "-c", start, str(home), program, *map(str, words)]
