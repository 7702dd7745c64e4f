"""The terminal: one sentence for a user's mistake, and tables."""

import os
import re
import shlex
import sys
import warnings
from collections.abc import Callable
from pathlib import Path

import jax
from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

import agentic_rl
from agentic_rl.config import ConfigError, check
from experiments.cli import interrupt, program_names, progress
from experiments.reports.stats import Record


def main(program: Callable[[list[str]], int | None]) -> None:
    """Runs `program` on the command line's arguments.

    A user's mistake or the disk's refusal ends it with a sentence and exit code 2, Ctrl-C or SIGTERM with exit code 130.
    """
    warnings.showwarning = show_warning
    try:
        with interrupt.heard():
            code = program([expand_home(word) for word in sys.argv[1:]])
        sys.stdout.flush()
        sys.exit(code)
    except BrokenPipeError:  # a reader such as `head` has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except (ConfigError, OSError) as error:
        sys.unraisablehook = lambda _: (
            None
        )  # threads that a damaged checkpoint cut short would print tracebacks
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        interrupt.leave()


def show_warning(
    message: Warning,
    category: type[Warning],
    filename: str,
    lineno: int,
    file=None,
    line: str | None = None,
) -> None:
    """Prints what the library warns of as one plain line, and any other warning as Python does."""
    ours = category.__module__.partition(".")[0] in ("agentic_rl", "experiments")
    text = (
        f"warning: {message}\n"
        if ours
        else warnings.formatwarning(message, category, filename, lineno, line)
    )
    progress.say(text.rstrip("\n"), file)


def expand_home(word: str) -> str:
    """Returns an argument with the user's home folder in place of a ~ that the shell left there.

    >>> expanded("--run-dir=~/x") == f"--run-dir={Path.home()}/x", expanded("~x"), expanded("a~/x")
    (True, '~x', 'a~/x')
    """
    flag, place = re.fullmatch(r"(--[\w.-]+=)?(.*)", word, re.DOTALL).groups("")
    return flag + os.path.expanduser(place) if place == "~" or place.startswith("~/") else word


def check_checkout(*places: str) -> None:
    """Checks, for files and folders that are written, that those of the repository's docs/ and results/ can be.

    Raises: ConfigError if this is no checkout.
    """
    for place in places:
        top = Path(place).parts[:1]
        sentence = f"{place} is a place in the repository: run this in a checkout of it, or name another place (--help lists the flags)."
        check(top not in [("docs",), ("results",)] or Path(*top).is_dir(), sentence)


def command(program: str, *words: object) -> str:
    """Returns the shell command that runs another program of this package, quoted, in the form in which the user started this one.

    >>> command("evaluate", "runs/my first run")
    "python -m experiments.evaluate 'runs/my first run'"
    """
    name = [program.replace("_", "-")]
    started, study = (
        Path(sys.argv[0]),
        [] if program in (*program_names.COMMANDS, *program_names.PAGES) else ["study"],
    )
    if started.stem == "agentic-rl":
        start = ["agentic-rl", *study, *name]
    elif (started.parent.name, started.name) == ("agentic_rl", "__main__.py"):
        start = ["python", "-m", "agentic_rl", *study, *name]
    else:
        start = ["python", "-m", program_names.module_of(program)]
    return shlex.join([*start, *map(str, words)])


def tensorboard(folder: object) -> str:
    """Returns the shell command that shows the runs in a folder, quoted.

    >>> tensorboard("runs/my first run")
    "tensorboard --logdir 'runs/my first run'"
    """
    return shlex.join(["tensorboard", "--logdir", str(folder)])


def usage(text: str) -> str:
    """Returns the text with its commands in the form in which the user started this program.

    >>> usage("Try `python -m experiments.train --help`.")
    'Try `python -m experiments.train --help`.'
    """
    return re.sub(r"python -m experiments\.(?:\w+\.)?(\w+)", lambda found: command(found[1]), text)


def process(program: str, *words: object) -> list[str]:
    """Returns the words that start another program of this installation from any folder, in a process of its own."""
    start = (
        "import sys; sys.path.append(sys.argv.pop(1)); from agentic_rl.__main__ import main; main()"
    )
    home = Path(agentic_rl.__file__).parents[1]
    return [sys.executable, "-P", "-c", start, str(home), program, *map(str, words)]


def keep_compiled_programs() -> None:
    """Compiled programs are kept on disk, so that only the first start of a program waits for the compiler."""
    jax.config.update("jax_compilation_cache_dir", str(Path.home() / ".cache" / "agentic_rl"))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.5)


def show(records: list[Record], title: str) -> None:
    """Prints records as a table below its title; where there is no terminal to be as wide as, no line is broken.

    On a terminal that is too narrow for the table its columns become lines, with as many records side by side as fit.
    """
    console = Console(width=None if sys.stdout.isatty() else 1000, highlight=False, markup=False)
    # rich would break a table's own title at the table's width
    console.print(Text(title, style="italic"), soft_wrap=True)
    if width(by_lines(records)) <= console.width:
        console.print(by_lines(records))
        return
    while records:
        count = next(
            (
                n
                for n in range(len(records), 1, -1)
                if width(by_columns(records[:n])) <= console.width
            ),
            1,
        )
        console.print(by_columns(records[:count]))
        records = records[count:]


def by_lines(records: list[Record]) -> Table:
    """Returns a table with a line for each record."""
    table = Table(*records[0], box=box.SIMPLE_HEAD)
    for record in records:
        table.add_row(*map(str, record.values()))
    return table


def by_columns(records: list[Record]) -> Table:
    """Returns a table with a column for each record."""
    name, *others = records[0]
    table = Table(name, *(str(record[name]) for record in records), box=box.SIMPLE_HEAD)
    for other in others:
        table.add_row(other, *(str(record[other]) for record in records))
    return table


def width(table: Table) -> int:
    """Returns the columns that a table takes if no cell is broken."""
    # without a height, rich takes a dumb terminal's width for 80
    return Console(width=10_000, height=1, markup=False).measure(table).maximum
