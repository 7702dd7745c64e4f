"""Errors of background threads that say nothing new: what the disk refuses them, the main thread is told and raises.

Once a read or a write of a checkpoint has failed, TensorStore's others end with "Event loop is closed"; on a full disk the thread of
tensorboardX dies, and what it registered for the end of the process fails again. Each would print a traceback around the one sentence.
"""

import sys
import threading
import traceback
from collections.abc import Callable
from typing import Any


class Quiet:
    """A hook for errors that nobody catches, which passes on to another hook only those that `is_told` does not hold of."""

    def __init__(self, hook: Callable[[Any], Any], is_told: Callable[[Any], bool]):
        self._hook, self._is_told = hook, is_told

    def __call__(self, raised: Any) -> None:
        if not self._is_told(raised):
            self._hook(raised)


def quieten() -> None:
    """Puts such hooks before the present ones of this process; call it before a library begins to write or read."""
    if not isinstance(sys.unraisablehook, Quiet):
        sys.unraisablehook = Quiet(sys.unraisablehook, _is_late)
    if not isinstance(threading.excepthook, Quiet):
        threading.excepthook = Quiet(threading.excepthook, _is_of_the_disk)


def _is_late(raised: Any) -> bool:
    names = (
        frame.f_globals.get("__name__", "") for frame, _ in traceback.walk_tb(raised.exc_traceback)
    )
    of_tensorboard = any(
        name.startswith("tensorboardX") for name in names
    )  # from Python 3.13 on, `raised.object` does not tell
    return "Event loop is closed" in str(raised.exc_value) or (
        of_tensorboard and isinstance(raised.exc_value, OSError)
    )


def _is_of_the_disk(raised: Any) -> bool:
    return issubclass(raised.exc_type, OSError) and type(raised.thread).__module__.startswith(
        "tensorboardX"
    )
