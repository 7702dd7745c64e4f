"""The terminal: one sentence for a user's mistake, and tables."""

import os
import shlex
import sys
import warnings
from collections.abc import Callable
from pathlib import Path

import jax
from rich import box
from rich.console import Console
from rich.table import Table

from agentic_rl.config import ConfigError
from experiments import interrupt, progress
from experiments.statistics import Record


def main(program: Callable[[list[str]], int | None]) -> None:
    """Runs `program` on the command line's arguments.

    A user's mistake or the disk's refusal ends it with a sentence and exit code 2, Ctrl-C or SIGTERM with exit code 130.
    """
    warnings.showwarning = show_warning
    try:
        with interrupt.heard():
            code = program(sys.argv[1:])
        sys.stdout.flush()
        sys.exit(code)
    except BrokenPipeError:  # a reader such as `head` has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except (ConfigError, OSError) as error:
        sys.unraisablehook = lambda _: None  # threads that a damaged checkpoint cut short would print tracebacks
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        sys.exit(interrupt.CODE)


def show_warning(message: Warning, category: type[Warning], filename: str, lineno: int, file=None, line: str | None = None) -> None:
    """Prints what the library warns of as one plain line, and any other warning as Python does."""
    ours = category.__module__.partition(".")[0] in ("agentic_rl", "experiments")
    text = f"warning: {message}\n" if ours else warnings.formatwarning(message, category, filename, lineno, line)
    progress.say(text.rstrip("\n"), file)


def command(program: str, *words: object) -> str:
    """Returns the shell command that runs another program of this package, quoted, in the form in which the user started this one.

    >>> command("evaluate", "runs/my first run")
    "python -m experiments.evaluate 'runs/my first run'"
    """
    start = (
        ["agentic-rl", program.replace("_", "-")] if Path(sys.argv[0]).stem == "agentic-rl" else ["python", "-m", f"experiments.{program}"]
    )
    return shlex.join([*start, *map(str, words)])


def tensorboard(folder: object) -> str:
    """Returns the shell command that shows the runs in a folder, quoted.

    >>> tensorboard("runs/my first run")
    "tensorboard --logdir 'runs/my first run'"
    """
    return shlex.join(["tensorboard", "--logdir", str(folder)])


def keep_compiled_programs() -> None:
    """Compiled programs are kept on disk, so that only the first start of a program waits for the compiler."""
    jax.config.update("jax_compilation_cache_dir", str(Path.home() / ".cache" / "agentic_rl"))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.5)


def show(records: list[Record], title: str) -> None:
    """Prints records as a table; where there is no terminal to be as wide as, no line is broken."""
    table = Table(*records[0], title=title, title_justify="left", box=box.SIMPLE_HEAD)
    for record in records:
        table.add_row(*map(str, record.values()))
    Console(width=None if sys.stdout.isatty() else 1000, highlight=False).print(table)
