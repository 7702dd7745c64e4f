"""What the disk refuses, as one sentence with advice that fits, and notes on what was damaged and could be restored."""

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
    """What was found damaged on disk, and how the program went on."""


def note(sentence: str) -> None:
    """Warns of what was found damaged; a command line shows the sentence, and the library itself prints nothing."""
    warnings.warn(sentence, DiskNotice, stacklevel=2)


@contextmanager
def writing(path: Path, what: str = "") -> Iterator[None]:
    """Turns what the disk refuses in this block into one sentence.

    Args: what: is written ("a checkpoint"); by default files of any kind.
    Raises: ConfigError.
    """
    try:
        yield
    except OSError as error:
        raise ConfigError(refusal(error, path, what)) from None


def refusal(error: Exception, path: Path, what: str = "") -> str:
    """Returns the sentence: what could not be written where, the system's reason, and what helps against that reason."""
    code = getattr(error, "errno", None) or next(
        (code for code in ADVICE if os.strerror(code) in str(error)), None
    )
    reason = os.strerror(code) if code else " ".join(str(error).split())
    advice = (
        f"{ADVICE[code]}, then go on with the same run"
        if code in ADVICE
        else "choose another directory"
    )
    return f"Cannot write {f'{what} ' * bool(what)}to {path} ({reason}); {advice}."


@contextmanager
def reading(path: Path) -> Iterator[None]:
    """Turns the refusal of the disk to read `path` into one sentence.

    Raises: ConfigError.
    """
    try:
        yield
    except OSError as error:
        reason = error.strerror or str(error)
        raise ConfigError(
            f"Cannot read {path} ({reason}); make it readable, or put it back from a copy."
        ) from None
