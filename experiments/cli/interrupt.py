"""Answers Ctrl-C and SIGTERM at once, also while the compiler holds the main thread.

No Python handler interrupts the compiler, so a thread of its own hears of the signal. If the
program would lose something, the first signal only asks it to stop. The next signal ends it, and
so does the first one if nothing would be lost: by a KeyboardInterrupt in the main thread, or by
exiting where that does not come through.
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

EXIT_CODE = 130  # of a program that was interrupted
PATIENCE = 3.0  # seconds that the main thread has to end, once it is told to
TRIES = 20  # how often it is told in that time
SIGNALS = (signal.SIGINT, signal.SIGTERM)
SAVING = (
    "stopping: the updates under way will be finished and saved ... "
    "(once more, and it stops at once)"
)


class Interruption:
    """The answer to signals, and how far it has come."""

    def __init__(self):
        self.describe_stop: Callable[[], str] = lambda: "stopped."
        self.would_lose: Callable[[], bool] = lambda: False
        self.patience = PATIENCE
        self.is_asked = False  # has the program been asked to stop?
        self.is_leaving = False  # has it been told to end?
        self.has_raised = False  # has the main thread had its KeyboardInterrupt?
        self.has_ended = threading.Event()

    def receive(self) -> None:
        """Answers a signal, in the thread that hears of it."""
        if self.is_leaving:
            return
        if not self.is_asked and self.would_lose():
            self.is_asked = True
            say(SAVING)
            return
        self.is_asked = self.is_leaving = True
        sys.unraisablehook = lambda _: None  # threads that are cut short would print tracebacks
        with suppress(Exception):  # without a sentence the program must still end
            say(self.describe_stop())
        self._end_main_thread()

    def _end_main_thread(self) -> None:
        """Interrupts the main thread, or exits if it does not end in time."""
        for _ in range(TRIES):
            # Again, because a main thread that was about to wait sleeps over a signal.
            if not self.has_raised:
                signal.pthread_kill(threading.main_thread().ident, signal.SIGINT)
            if self.has_ended.wait(self.patience / TRIES):
                return
        os._exit(EXIT_CODE)

    def raise_once(self, number: int, frame: object) -> None:
        """Handles a signal in the main thread.

        Raises: KeyboardInterrupt, once, if the program is to end.
        """
        if self.is_leaving and not self.has_raised:
            self.has_raised = True
            raise KeyboardInterrupt


_current = Interruption()


def say(sentence: str) -> None:
    """Prints a sentence, unless the terminal or the pipe that would show it is closed."""
    with suppress(OSError, ValueError):
        sys.stdout.flush()
        progress.say(sentence)


def on_interrupt(describe_stop: Callable[[], str], patience: float = PATIENCE) -> None:
    """Sets what the next interruption says: what is kept, and how to continue."""
    _current.describe_stop = describe_stop
    _current.would_lose = lambda: False
    _current.patience = patience


def stop_predicate(describe_stop: Callable[[], str]) -> Callable[[], bool]:
    """Returns a function that returns whether the program was asked to stop.

    A run calls it after each chunk. A run that would lose nothing is ended at once instead.

    Args:
      describe_stop: returns the sentence that an interruption at once says.
    """
    interruption = _current
    interruption.describe_stop = describe_stop
    interruption.would_lose = lambda: not progress.loses_nothing()
    return lambda: interruption.is_asked


def leave() -> NoReturn:
    """Ends the process, without waiting for the compiler's threads as Python would."""
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError):
            stream.flush()
    if _current.is_leaving:
        os._exit(EXIT_CODE)
    sys.exit(EXIT_CODE)


@contextmanager
def handle_signals() -> Iterator[None]:
    """Answers signals while it is open.

    Raises: KeyboardInterrupt if a signal ended the program, whatever else was raised on the way.
    """
    global _current
    _current = interruption = Interruption()
    # Only the main thread may set handlers.
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    reader, writer = socket.socketpair()
    writer.setblocking(False)

    handlers = {number: signal.signal(number, interruption.raise_once) for number in SIGNALS}
    old_fd = signal.set_wakeup_fd(writer.fileno(), warn_on_full_buffer=False)
    threading.Thread(target=_listen, args=(reader, interruption), daemon=True).start()
    try:
        yield
    except Exception:
        if not interruption.is_leaving:
            raise
        raise KeyboardInterrupt from None
    finally:
        interruption.has_ended.set()
        signal.set_wakeup_fd(old_fd)
        for number, handler in handlers.items():
            signal.signal(number, handler)
        writer.close()  # which ends the thread


def _listen(reader: socket.socket, interruption: Interruption) -> None:
    with reader:
        while byte := reader.recv(1):
            if byte[0] in SIGNALS:
                interruption.receive()
