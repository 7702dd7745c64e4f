"""Ctrl-C and SIGTERM, answered at once: even while the compiler, which no Python handler interrupts, holds the main thread.

A thread of its own hears of the signal. If the program would lose something, the first signal only asks it to stop; the next one,
or the first if nothing is lost, ends it: by KeyboardInterrupt in the main thread, or where that does not come through, by exiting.
"""

import os
import signal
import socket
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import NoReturn

from experiments.cli import progress

CODE = 130  # of a program that was interrupted
PATIENCE = 3.0  # seconds that the main thread has, once it is told to leave
TRIES = 20  # to tell it
SIGNALS = (signal.SIGINT, signal.SIGTERM)
SAVING = "stopping: the updates under way will be finished and saved ... (once more, and it stops at once)"


class Interruption:
    """What the signals mean for the program that runs."""

    def __init__(self):
        self.kept: Callable[[], str] = lambda: "stopped."
        self.waits: Callable[[], bool] = lambda: False
        self.patience = PATIENCE
        self.is_asked, self.is_leaving, self.has_raised, self.has_ended = (
            False,
            False,
            False,
            threading.Event(),
        )

    def received(self) -> None:
        """Answers a signal; runs in the thread that hears of it."""
        if self.is_leaving:
            return
        if not self.is_asked and self.waits():
            self.is_asked = True
            say(SAVING)
            return
        self.is_asked = self.is_leaving = True
        sys.unraisablehook = lambda _: None  # what is cut short would print tracebacks
        with suppress(
            Exception
        ):  # whatever keeps the sentence from being made must not keep the program from ending
            say(self.kept())
        for _ in range(TRIES):
            if (
                not self.has_raised
            ):  # a main thread that was just about to wait for others sleeps over a signal
                signal.pthread_kill(threading.main_thread().ident, signal.SIGINT)
            if self.has_ended.wait(self.patience / TRIES):
                return
        os._exit(CODE)

    def raise_once(self, number: int, frame: object) -> None:
        """Handles a signal in the main thread: it raises KeyboardInterrupt, once, if the program is to end."""
        if self.is_leaving and not self.has_raised:
            self.has_raised = True
            raise KeyboardInterrupt


_now = Interruption()


def say(sentence: str) -> None:
    """Says a sentence if there still is someone to hear it."""
    with suppress(OSError, ValueError):  # a terminal or a pipe that is closed
        sys.stdout.flush()
        progress.say(sentence)


def on_interrupt(sentence: Callable[[], str], patience: float = PATIENCE) -> None:
    """From now on, an interruption says this sentence: what is kept and how to go on."""
    _now.kept, _now.waits, _now.patience = sentence, lambda: False, patience


def stopper(sentence: Callable[[], str]) -> Callable[[], bool]:
    """Returns a function that turns true once the program is asked to stop, which a run asks after each chunk.

    A run that would lose nothing is left at once.
    """
    interruption = _now
    interruption.kept, interruption.waits = sentence, lambda: not progress.loses_nothing()
    return lambda: interruption.is_asked


def leave() -> NoReturn:
    """Ends the process of an interrupted program, without waiting for the compiler's threads as Python would."""
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError):
            stream.flush()
    if _now.is_leaving:
        os._exit(CODE)
    sys.exit(CODE)


@contextmanager
def heard() -> Iterator[None]:
    """Hears of signals while it is open.

    Raises: KeyboardInterrupt if one of them ended the program, whatever became of it on the way out.
    """
    global _now
    _now = interruption = Interruption()
    if threading.current_thread() is not threading.main_thread():  # only the main thread may hear
        yield
        return
    ours, theirs = socket.socketpair()
    theirs.setblocking(False)

    handlers = {number: signal.signal(number, interruption.raise_once) for number in SIGNALS}
    before = signal.set_wakeup_fd(theirs.fileno(), warn_on_full_buffer=False)
    threading.Thread(target=_listen, args=(ours, interruption), daemon=True).start()
    try:
        yield
    except Exception:
        if not interruption.is_leaving:
            raise
        raise KeyboardInterrupt from None
    finally:
        interruption.has_ended.set()
        signal.set_wakeup_fd(before)
        for number, handler in handlers.items():
            signal.signal(number, handler)
        theirs.close()  # which ends the thread


def _listen(ours: socket.socket, interruption: Interruption) -> None:
    with ours:
        while byte := ours.recv(1):
            if byte[0] in SIGNALS:
                interruption.received()
