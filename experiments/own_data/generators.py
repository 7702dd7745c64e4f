"""Questions and answers that a generator of the reasoning-gym package draws, in as many processes as there are cores."""

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
SIZE, MOST = 1000, 1_000_000  # rows, by default and at most
FEW = 100  # rows for which a process of their own is worth its start
INSTALL = "reasoning-gym is not installed: pip install 'agentic_rl[reasoning-gym]'."
WORKER = Path(__file__).with_name("generator_rows.py")


def read(source: str) -> tuple[str, dict[int, tuple[str, str]]]:
    """Returns a name, and question and answer by the number of their row, for reasoning_gym:NAME or reasoning_gym:NAME:SIZE.

    The rows are those of the generator's default difficulty and seed 0.
    Raises: ConfigError with the form of `source`, the names there are, or what the generator said.
    """
    form = re.fullmatch(r"(\w+)(?::([0-9]{1,7}))?", source.removeprefix(PREFIX))
    how = f"write {PREFIX}NAME or {PREFIX}NAME:SIZE, such as {PREFIX}chain_sum:500"
    check(form is not None, f"There is no {source}: {how}.")
    name, size = form[1], int(form[2] or SIZE)
    check(
        1 <= size <= MOST,
        f"The size behind {PREFIX}{name}: is a whole number from 1 to {MOST:,}, not {form[2]}.",
    )
    check(importlib.util.find_spec("reasoning_gym") is not None, INSTALL)
    return f"{PREFIX}{name}", draw(name, size)


def draw(name: str, size: int) -> dict[int, tuple[str, str]]:
    """Returns the generator's rows by their numbers, the same ones whatever the number of processes.

    Raises: ConfigError with what the generator said, or if a question or an answer is no text.
    """
    cores = (
        len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    )
    count = min(cores, -(-size // FEW))
    found = {}
    with ExitStack() as stack:
        processes = [
            stack.enter_context(_start(name, size, first, count)) for first in range(count)
        ]
        pool = stack.enter_context(ThreadPoolExecutor(count))
        stack.callback(_end, processes)  # before the threads that read from them are waited for
        for process in processes:
            _check_name(name, process)
        on_row = stack.enter_context(_progress(name, size))
        for each in as_completed(
            [pool.submit(_collect, name, process, on_row) for process in processes]
        ):
            found |= each.result()
    return dict(sorted(found.items()))


@contextmanager
def _progress(name: str, size: int) -> Iterator[Callable[[], None]]:
    """Yields what to call with every row: on a terminal a line counts them, elsewhere one line says what is being done."""
    console, title = Console(stderr=True), f"drawing {size:,} rows of {name} ..."
    if not console.is_terminal:
        print(title, file=sys.stderr, flush=True)
    columns = TextColumn("{task.description}"), MofNCompleteColumn(), TimeElapsedColumn()
    with Progress(
        *columns, console=console, transient=True, disable=not console.is_terminal
    ) as progress:
        bar = progress.add_task(title, total=size)
        yield lambda: progress.advance(bar)


def _start(name: str, size: int, first: int, step: int) -> subprocess.Popen:
    words = [sys.executable, "-P", str(WORKER), name, *map(str, (size, first, step))]
    streams = dict(
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )
    return subprocess.Popen(words, env=os.environ | {"PYTHONHASHSEED": "0"}, **streams)


def _end(processes: list[subprocess.Popen]) -> None:
    for process in processes:
        process.kill()


def _check_name(name: str, process: subprocess.Popen) -> None:
    """Reads the names of all generators from a process, and checks that `name` is among them.

    Raises: ConfigError with the names if it is not, or with what the process said instead.
    """
    # of a process that ended, `_collect` tells the exit code
    message = json.loads(process.stdout.readline() or "{}")
    _check_error(name, message)
    known = message.get("known", [name])
    hint = "".join(f" (did you mean {near}?)" for near in get_close_matches(name, known, 1))
    check(
        name in known,
        f"reasoning-gym has no generator called {name}{hint}; choose one of: {', '.join(known)}.",
    )


def _check_error(name: str, message: dict[str, Any]) -> None:
    why = f"cannot be drawn as it is by default ({message.get('error')})"
    check("error" not in message, f"reasoning-gym's {name} {why}; choose another generator.")


def _collect(
    name: str, process: subprocess.Popen, on_row: Callable[[], None]
) -> dict[int, tuple[str, str]]:
    """Returns what a process drew.

    Raises: ConfigError with what it said instead.
    """
    found = {}
    for message in map(json.loads, process.stdout):
        _check_error(name, message)
        number, pair = message["row"] + 1, (message["question"], message["answer"])
        check(
            None not in pair,
            f"reasoning-gym's {name} has no single text as an answer (row {number} has none); choose another generator.",
        )
        found[number] = pair
        on_row()
    check(
        process.wait() == 0,
        f"A process that drew rows of reasoning-gym's {name} ended with code {process.returncode}.",
    )
    return found
