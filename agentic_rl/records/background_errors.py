"""Silences errors of background threads that repeat what the main thread has already reported.

Once a read or a write of a checkpoint has failed, TensorStore's other operations end with "Event
loop is closed". On a full disk the thread of tensorboardX dies, and its exit handler fails once
more. Each of these would print a traceback around the one sentence that the user needs.
"""

import sys
import threading
import traceback
from collections.abc import Callable
from typing import Any


class Quiet:
    """A hook for uncaught errors that drops the expected ones and passes the others on."""

    def __init__(self, hook: Callable[[Any], Any], is_expected: Callable[[Any], bool]):
        self._hook, self._is_expected = hook, is_expected

    def __call__(self, raised: Any) -> None:
        if not self._is_expected(raised):
            self._hook(raised)


def quieten() -> None:
    """Installs the hooks in this process. Call it before a library begins to write or read."""
    if not isinstance(sys.unraisablehook, Quiet):
        sys.unraisablehook = Quiet(sys.unraisablehook, _is_aftermath)
    if not isinstance(threading.excepthook, Quiet):
        threading.excepthook = Quiet(threading.excepthook, _is_tensorboard_on_full_disk)


def _is_aftermath(raised: Any) -> bool:
    if "Event loop is closed" in str(raised.exc_value):
        return True
    # The traceback tells the module; from Python 3.13 on, `raised.object` does not.
    frames = traceback.walk_tb(raised.exc_traceback)
    names = [frame.f_globals.get("__name__", "") for frame, _ in frames]
    is_tensorboard = any(name.startswith("tensorboardX") for name in names)
    return is_tensorboard and isinstance(raised.exc_value, OSError)


def _is_tensorboard_on_full_disk(raised: Any) -> bool:
    is_tensorboard = type(raised.thread).__module__.startswith("tensorboardX")
    return is_tensorboard and issubclass(raised.exc_type, OSError)
