"""Turns the disk's refusals into one sentence with advice, and warns of repaired damage."""

import errno
import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from agentic_rl.config import ConfigError

ADVICE = {
    errno.ENOSPC: "make room there",
    errno.EDQUOT: "make room there",
    errno.EFBIG: "raise the limit on the size of a file (ulimit -f)",
    errno.EACCES: "give this user the permission",
    errno.EPERM: "give this user the permission",
    errno.EROFS: "give this user the permission",
}


class DiskNotice(UserWarning):
    """A warning that names what is damaged on disk and how the program went on."""


def note(sentence: str) -> None:
    """Warns of damage on disk. A command line shows the sentence; the library never prints it."""
    warnings.warn(sentence, DiskNotice, stacklevel=2)


@contextmanager
def writing(path: Path, what: str = "") -> Iterator[None]:
    """Turns a refusal of the disk within this block into one sentence.

    Args:
      what: the kind of file that is written ("a checkpoint"); by default any.

    Raises: ConfigError.
    """
    try:
        yield
    except OSError as error:
        raise ConfigError(refusal(error, path, what)) from None


def refusal(error: Exception, path: Path, what: str = "") -> str:
    """Returns a sentence that names the file, the system's reason, and what helps against it."""
    code = getattr(error, "errno", None) or _code_in(str(error))
    reason = os.strerror(code) if code else " ".join(str(error).split())
    advice = "choose another directory"
    if code in ADVICE:
        advice = f"{ADVICE[code]}, then go on with the same run"
    return f"Cannot write {f'{what} ' * bool(what)}to {path} ({reason}); {advice}."


def _code_in(text: str) -> int | None:
    """Returns the error code whose description a library's message repeats."""
    return next((code for code in ADVICE if os.strerror(code) in text), None)


@contextmanager
def reading(path: Path) -> Iterator[None]:
    """Turns the disk's refusal to read `path` into one sentence.

    Raises: ConfigError.
    """
    try:
        yield
    except OSError as error:
        reason = error.strerror or str(error)
        advice = "make it readable, or put it back from a copy"
        raise ConfigError(f"Cannot read {path} ({reason}); {advice}.") from None
