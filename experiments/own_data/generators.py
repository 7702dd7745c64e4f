"""Draws questions and answers with a generator of the reasoning-gym package (2505.24760).

As many processes draw as there are cores.
"""

import importlib.util
import json
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import ExitStack, contextmanager
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from agentic_rl.config import check

PREFIX = "reasoning_gym:"
DEFAULT_SIZE, MAX_SIZE = 1000, 1_000_000  # rows
ROWS_PER_PROCESS = 100  # at least, for a process to be worth its start
INSTALL = "reasoning-gym is not installed: pip install 'agentic_rl[reasoning-gym]'."
WORKER = Path(__file__).with_name("generator_rows.py")


def read(source: str) -> tuple[str, dict[int, tuple[str, str]]]:
    """Returns the generator's name, and question and answer by the number of their row.

    The rows have the generator's default difficulty and are drawn with seed 0.

    Args:
      source: reasoning_gym:NAME or reasoning_gym:NAME:SIZE.
    Raises: ConfigError if `source` has another form or names no generator, or the generator fails.
    """
    form = re.fullmatch(r"(\w+)(?::([0-9]{1,7}))?", source.removeprefix(PREFIX))
    check(
        form is not None,
        f"There is no {source}: write {PREFIX}NAME or {PREFIX}NAME:SIZE, "
        f"such as {PREFIX}chain_sum:500.",
    )
    name, size = form[1], int(form[2] or DEFAULT_SIZE)
    check(
        1 <= size <= MAX_SIZE,
        f"The size after {PREFIX}{name}: is a whole number from 1 to {MAX_SIZE:,}, not {form[2]}.",
    )
    check(importlib.util.find_spec("reasoning_gym") is not None, INSTALL)
    return f"{PREFIX}{name}", draw(name, size)


def draw(name: str, size: int) -> dict[int, tuple[str, str]]:
    """Returns the generator's rows by their numbers, which no number of processes changes.

    Raises: ConfigError if the generator fails, or if a question or an answer is no text.
    """
    count = min(count_cores(), -(-size // ROWS_PER_PROCESS))
    rows = {}
    with ExitStack() as stack:
        starts = range(count)
        processes = [stack.enter_context(_start(name, size, start, count)) for start in starts]
        pool = stack.enter_context(ThreadPoolExecutor(count))
        # Before the threads that read from the processes are waited for.
        stack.callback(_kill, processes)
        for process in processes:
            _check_name(name, process)
        on_row = stack.enter_context(_progress(name, size))
        collected = [pool.submit(_collect, name, process, on_row) for process in processes]
        for each in as_completed(collected):
            rows |= each.result()
    return dict(sorted(rows.items()))


def count_cores() -> int:
    """Returns how many cores this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


@contextmanager
def _progress(name: str, size: int) -> Iterator[Callable[[], None]]:
    """Yields a function to call with every row.

    On a terminal a line counts the rows; elsewhere one line says what is being done.
    """
    console, title = Console(stderr=True), f"drawing {size:,} rows of {name} ..."
    if not console.is_terminal:
        print(title, file=sys.stderr, flush=True)
    columns = TextColumn("{task.description}"), MofNCompleteColumn(), TimeElapsedColumn()
    is_hidden = not console.is_terminal
    with Progress(*columns, console=console, transient=True, disable=is_hidden) as progress:
        bar = progress.add_task(title, total=size)
        yield lambda: progress.advance(bar)


def _start(name: str, size: int, first: int, step: int) -> subprocess.Popen:
    return subprocess.Popen(
        [sys.executable, "-P", str(WORKER), name, *map(str, (size, first, step))],
        env=os.environ | {"PYTHONHASHSEED": "0"},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )


def _kill(processes: list[subprocess.Popen]) -> None:
    for process in processes:
        process.kill()


def _check_name(name: str, process: subprocess.Popen) -> None:
    """Reads the names of all generators from a process, and checks that `name` is among them.

    Raises: ConfigError with the names if it is not, or with what the process said instead.
    """
    # Of a process that has ended, `_collect` reports the exit code.
    message = json.loads(process.stdout.readline() or "{}")
    _check_error(name, message)
    known = message.get("known", [name])
    near = get_close_matches(name, known, 1)
    hint = f" (did you mean {near[0]}?)" if near else ""
    check(
        name in known,
        f"reasoning-gym has no generator called {name}{hint}; choose one of: {', '.join(known)}.",
    )


def _check_error(name: str, message: dict[str, Any]) -> None:
    check(
        "error" not in message,
        f"reasoning-gym's {name} cannot be drawn as it is by default ({message.get('error')}); "
        "choose another generator.",
    )


def _collect(
    name: str, process: subprocess.Popen, on_row: Callable[[], None]
) -> dict[int, tuple[str, str]]:
    """Returns the rows that a process draws.

    Raises: ConfigError if it says something else, or ends early.
    """
    rows = {}
    for message in map(json.loads, process.stdout):
        _check_message(name, message)
        rows[message["row"] + 1] = message["question"], message["answer"]
        on_row()
    check(
        process.wait() == 0,
        f"A process that drew rows of reasoning-gym's {name} ended with code {process.returncode}.",
    )
    return rows


def _check_message(name: str, message: dict[str, Any]) -> None:
    """Checks that a message of a process is a row of texts.

    Raises: ConfigError with what to do.
    """
    _check_error(name, message)
    check(
        message["question"] is not None and message["answer"] is not None,
        f"reasoning-gym's {name} has no single text as an answer (row {message['row'] + 1} has "
        "none); choose another generator.",
    )
