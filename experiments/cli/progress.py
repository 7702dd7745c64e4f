"""The line that shows how far a program is.

On a terminal the line renews itself. In a log file a new line is added now and then.
"""

import os
import sys
import textwrap
import threading
import time
from math import nan
from typing import Any

from agentic_rl.progress import Progress
from experiments.cli.part_counter import PartCounter
from experiments.cli.progress_text import SEPARATOR, fields, fit

TICK = 0.5  # seconds between drawings
SHORT = 1.0  # seconds; a phase that takes less is not shown

_open_lines: list["Line"] = []  # the newest is on the terminal


class Line:
    """A context manager that shows the Progress that it is called with."""

    def __init__(
        self,
        title: str,
        counter: PartCounter | None = None,
        is_logged: bool = True,
        stream: Any = None,
    ):
        """Takes what the line is to show; nothing is written yet.

        Args:
          title: what is running.
          counter: the parts of the command, if it has several.
          is_logged: whether a log file shows progress, too. It shows sentences in any case.
          stream: where to write; by default stderr.
        """
        self.is_logged = is_logged
        self.title, self.counter, self.stream = title, counter, stream or sys.stderr
        self.renews = self.stream.isatty() and os.environ.get("TERM") != "dumb"
        self.now = Progress("preparing", saved=True)
        self.phase_start = self.last_call = time.monotonic()
        self._last_logged = ""  # the phase and the tenth of it that a log file showed last
        self._lock, self._closed = threading.RLock(), threading.Event()

    def __enter__(self) -> "Line":
        _open_lines.append(self)
        self._closed.clear()
        threading.Thread(target=self._tick, daemon=True).start()
        return self

    def __exit__(self, *error) -> None:
        self._closed.set()
        with self._lock:
            self._clear()
            _open_lines.remove(self)

    def __call__(self, progress: Progress) -> None:
        """Shows the progress of a run, or prints its note."""
        with self._lock:
            if progress.note:
                note = f"note: {progress.note}"
                self.say(textwrap.fill(note, self._width()) if self.renews else note)
                return
            self.last_call = time.monotonic()
            if progress.phase != self.now.phase:
                self.phase_start = self.last_call
            self.now = progress
            self._draw()

    def phase(self, name: str, step: int = 0, total: int = 0) -> None:
        """Begins a phase of the program's own; the last success of the run stays on the line."""
        phase = dict(phase=name, step=step, total=total, seconds_left=nan, note="")
        self(self.now._replace(**phase))

    def say(self, sentence: str, stream: Any = None) -> None:
        """Prints a sentence above the line."""
        with self._lock:
            self._clear()
            print(sentence, file=stream or self.stream, flush=True)
            self._draw()

    def _tick(self) -> None:
        while not self._closed.wait(TICK):
            with self._lock:
                if not self._closed.is_set():
                    self._draw()

    def _draw(self) -> None:
        now = time.monotonic()
        in_phase = now - self.phase_start
        is_too_short = in_phase < SHORT and not self.now.total
        if is_too_short or self._closed.is_set():
            return
        waited = in_phase if self.renews else 0
        parts = fields(self.title, self.now, waited, now - self.last_call, self.counter)
        if self.renews:
            self.stream.write(f"\r\033[K{fit(parts, self._width())}")
            self.stream.flush()
        elif self.is_logged:
            self._log(SEPARATOR.join(parts.values()))

    def _log(self, text: str) -> None:
        """Prints the text with the time of day, once in each phase and each tenth of a phase."""
        tenth = self.now.step * 10 // self.now.total if self.now.total else ""
        if self._last_logged != (key := f"{self.now.phase} {tenth}"):
            print(time.strftime("%H:%M:%S"), text, file=self.stream, flush=True)
            self._last_logged = key

    def _clear(self) -> None:
        if self.renews:
            self.stream.write("\r\033[K")
            self.stream.flush()

    def _width(self) -> int:
        """Returns the columns that are safe to write to.

        Text in the last column makes some terminals begin another line.
        """
        try:
            return max(os.get_terminal_size(self.stream.fileno()).columns - 1, 10)
        except (OSError, ValueError):
            return 79


def show(progress: Progress) -> None:
    """Shows progress on the newest open line, if there is one."""
    if _open_lines:
        _open_lines[-1](progress)


def say(sentence: str, stream: Any = None) -> None:
    """Prints a sentence, by default on stderr, without tearing the open line."""
    if _open_lines:
        _open_lines[-1].say(sentence, stream)
    else:
        print(sentence, file=stream or sys.stderr, flush=True)


def loses_nothing() -> bool:
    """Returns whether the program may end now without losing an update of a run."""
    return not _open_lines or _open_lines[-1].now.loses_nothing
