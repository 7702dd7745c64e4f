"""The line that shows how far a program is: on a terminal one that renews itself, in a log file a new one now and then."""

import os
import sys
import textwrap
import threading
import time
from typing import Any

from rich.cells import cell_len, set_cell_size

from agentic_rl.progress import Progress
from experiments.cli.whole import Whole

SEPARATOR = " | "
MOST = 40  # columns of a title
TICK = 0.5  # seconds between drawings
SHORT = 1.0  # seconds: a phase that takes less is not shown
LEAST_IMPORTANT = (
    "tokens",
    "speed",
    "title",
    "left",
)  # what a narrow terminal does without, in this order

_open: list["Line"] = []  # the newest is on the terminal


class Line:
    """Shows Progress while it is open as a context."""

    def __init__(
        self, title: str, whole: Whole | None = None, is_logged: bool = True, stream: Any = None
    ):
        """
        Args:
          whole: where in a command of many parts this is.
          is_logged: whether a log file shows it, too; sentences it shows anyway.
        """
        self.is_logged = is_logged
        self.title, self.whole, self.stream = title, whole, stream or sys.stderr
        self.renews = self.stream.isatty() and os.environ.get("TERM") != "dumb"
        self.now, self.since, self.told = (
            Progress("preparing", saved=True),
            time.monotonic(),
            time.monotonic(),
        )
        self._said = ""  # the phase, and in a log also the tenth of it, that was shown last
        self._lock, self._ended = threading.RLock(), threading.Event()

    def __enter__(self) -> "Line":
        _open.append(self)
        self._ended.clear()
        threading.Thread(target=self._tick, daemon=True).start()
        return self

    def __exit__(self, *error) -> None:
        self._ended.set()
        with self._lock:
            self._clear()
            _open.remove(self)

    def __call__(self, progress: Progress) -> None:
        """Shows what a run tells."""
        with self._lock:
            if progress.note:
                self.say(
                    textwrap.fill(f"note: {progress.note}", self._width())
                    if self.renews
                    else f"note: {progress.note}"
                )
                return
            self.told = time.monotonic()
            if progress.phase != self.now.phase:
                self.since = self.told
            self.now = progress
            self._draw()

    def phase(self, name: str, step: int = 0, total: int = 0) -> None:
        """Begins a phase of the program's own, behind which a run's success stands as it was."""
        self(
            self.now._replace(
                phase=name, step=step, total=total, seconds_left=float("nan"), note=""
            )
        )

    def say(self, sentence: str, stream: Any = None) -> None:
        """Prints a sentence above the line."""
        stream = stream or self.stream
        with self._lock:
            self._clear()
            print(sentence, file=stream, flush=True)
            self._draw()

    def _tick(self) -> None:
        while not self._ended.wait(TICK):
            with self._lock:
                if not self._ended.is_set():
                    self._draw()

    def _draw(self) -> None:
        now, waited = self.now, time.monotonic() - self.since
        if waited < SHORT and not now.total or self._ended.is_set():
            return
        parts = fields(
            self.title, now, waited if self.renews else 0, time.monotonic() - self.told, self.whole
        )
        if self.renews:
            self.stream.write(f"\r\033[K{fit(parts, self._width())}")
            self.stream.flush()
        elif (
            self.is_logged
            and (said := f"{now.phase} {now.step * 10 // now.total if now.total else ''}")
            != self._said
        ):
            print(
                time.strftime("%H:%M:%S"),
                SEPARATOR.join(parts.values()),
                file=self.stream,
                flush=True,
            )
            self._said = said

    def _clear(self) -> None:
        if self.renews:
            self.stream.write("\r\033[K")
            self.stream.flush()

    def _width(self) -> int:
        """Columns that are safe to write to: in the last one, some terminals begin another line."""
        try:
            return max(os.get_terminal_size(self.stream.fileno()).columns - 1, 10)
        except (OSError, ValueError):
            return 79


def fields(
    title: str, now: Progress, waited: float, since_told: float, whole: Whole | None = None
) -> dict[str, str]:
    """Returns what there is to show, in order.

    Args:
      waited: seconds in this phase.
      since_told: seconds since `now` was true.

    >>> fields("running_sum", Progress("training", 60, 200, 150.5, 1.25, 9000, 0.42, 40), 80.0, 20.0)["left"]
    '2:10 left'
    >>> fields("", Progress("compiling the updates"), 37.2, 37.2)
    {'phase': 'compiling the updates ... 37 s'}
    """
    left = now.seconds_left - since_told
    in_all = whole.seconds_left(left) if whole else float("nan")
    times = [
        f"{clock(seconds)} {what}"
        for seconds, what in ((left, "left"), (in_all, "left in all"))
        if seconds >= 1
    ]
    is_known = now.seconds_left == now.seconds_left
    count = f" {now.step}/{now.total}" if now.total else ""
    found = {
        "whole": whole.place if whole else "",
        "title": set_cell_size(title, min(cell_len(title), MOST)),
        "success": ""
        if now.success != now.success
        else f"success {decimals(now.success)} at {now.success_at}",
        "phase": now.phase
        + count
        + ("" if is_known else " ...")
        + (f" {int(waited)} s" if waited >= SHORT and not is_known else ""),
        "left": ", ".join(times),
        "speed": f"{now.steps_per_second:.3g} updates/s" if is_known else "",
        "tokens": f"{now.tokens_per_second:,.0f} tokens/s" if is_known else "",
    }
    return {name: text for name, text in found.items() if text}


def fit(parts: dict[str, str], width: int) -> str:
    """Returns the parts as a line of at most `width` columns, without the least important ones if need be.

    >>> parts = {"title": "running_sum", "success": "success .42 at 40", "phase": "training 60/200", "speed": "1.25 updates/s"}
    >>> fit(parts, 60), fit(parts, 40), fit(parts, 20)
    ('running_sum | success .42 at 40 | training 60/200', 'success .42 at 40 | training 60/200', 'success .42 at 40 | ')
    """
    for name in ("", *LEAST_IMPORTANT):
        parts = {k: text for k, text in parts.items() if k != name}
        line = SEPARATOR.join(parts.values())
        if cell_len(line) <= width:
            return line
    return set_cell_size(line, width)


def show(progress: Progress) -> None:
    """Shows what a run tells on the line that is open, if there is one."""
    if _open:
        _open[-1](progress)


def say(sentence: str, stream: Any = None) -> None:
    """Prints a sentence (on stderr unless told otherwise) without tearing the line that is open."""
    if _open:
        _open[-1].say(sentence, stream)
    else:
        print(sentence, file=stream or sys.stderr, flush=True)


def loses_nothing() -> bool:
    """Returns whether the program may be left now without losing an update: no run is shown, or the run has saved its last one."""
    return not _open or _open[-1].now.loses_nothing


def decimals(share: float) -> str:
    """Returns a share between 0 and 1 with two decimals, without the leading zero.

    >>> decimals(0.417), decimals(0.0), decimals(1.0)
    ('.42', '.00', '1.00')
    """
    return f"{share:.2f}".removeprefix("0")


def clock(seconds: float) -> str:
    """Returns minutes and seconds, and hours if there are any.

    >>> clock(75.2), clock(3675)
    ('1:15', '1:01:15')
    """
    minutes, rest = divmod(int(seconds), 60)
    return (
        f"{minutes // 60}:{minutes % 60:02d}:{rest:02d}"
        if minutes >= 60
        else f"{minutes}:{rest:02d}"
    )
