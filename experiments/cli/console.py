"""Runs a program, and turns a user's mistake or an interruption into one sentence."""

import os
import re
import sys
import warnings
from collections.abc import Callable
from pathlib import Path

import jax

from agentic_rl.config import ConfigError, check
from experiments.cli import interrupt, progress


def main(program: Callable[[list[str]], int | None]) -> None:
    """Runs `program` on the command line's arguments, and exits with the code that it returns.

    A user's mistake, or a refusal of the disk, is printed as a sentence and ends the process with
    exit code 2. Ctrl-C and SIGTERM end it with exit code 130.
    """
    warnings.showwarning = show_warning
    try:
        with interrupt.handle_signals():
            code = program([expand_home(word) for word in sys.argv[1:]])
        sys.stdout.flush()
        sys.exit(code)
    except BrokenPipeError:  # a reader such as `head` has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except (ConfigError, OSError) as error:
        # Threads that still read a damaged checkpoint would print tracebacks.
        sys.unraisablehook = lambda _: None
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
    """Prints a warning of this package as one plain line, and any other warning as Python does."""
    if category.__module__.partition(".")[0] in ("agentic_rl", "experiments"):
        text = f"warning: {message}"
    else:
        text = warnings.formatwarning(message, category, filename, lineno, line)
    progress.say(text.rstrip("\n"), file)


def expand_home(word: str) -> str:
    """Returns an argument with the user's home folder in place of a ~ that the shell left there.

    >>> expand_home("--run-dir=~/x") == f"--run-dir={Path.home()}/x"
    True
    >>> expand_home("~x"), expand_home("a~/x")
    ('~x', 'a~/x')
    """
    flag, path = re.fullmatch(r"(--[\w.-]+=)?(.*)", word, re.DOTALL).groups("")
    return flag + os.path.expanduser(path) if path == "~" or path.startswith("~/") else word


def check_checkout(*paths: str) -> None:
    """Checks that files in the repository's docs/ and results/ can be written.

    Raises: ConfigError if one of the paths is in such a folder and this is no checkout.
    """
    for path in paths:
        top = Path(path).parts[:1]
        check(
            top not in [("docs",), ("results",)] or Path(*top).is_dir(),
            f"{path} is a place in the repository: run this in a checkout of it, or name another"
            " place (--help lists the flags).",
        )


def keep_compiled_programs() -> None:
    """Keeps compiled programs on disk, so that only the first start of a program compiles them."""
    jax.config.update("jax_compilation_cache_dir", str(Path.home() / ".cache" / "agentic_rl"))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.5)
