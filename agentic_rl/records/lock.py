"""The right to write in a folder, which one process has at a time."""

import errno
import fcntl
import os
import socket
from pathlib import Path
from typing import TextIO

from agentic_rl.config import ConfigError
from agentic_rl.records.disk_errors import note, writing

UNSUPPORTED = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.EINVAL)


class Lock:
    """A file `lock` that names the process which writes in its folder.

    The operating system releases the lock when that process ends, in whatever way it ends.
    """

    def __init__(self, folder: Path):
        self.path = folder / "lock"
        self._file: TextIO | None = None

    def acquire(self) -> None:
        """Takes the right to write, unless this object already has it. Creates a missing folder.

        Raises: ConfigError if another process writes there, or if the folder cannot be written.
        """
        if self._file is None:
            with writing(self.path.parent):
                self.path.parent.mkdir(parents=True, exist_ok=True)
                self._file = self._open_locked()
                self._file.truncate(0)
                self._file.write(f"{os.getpid()} {socket.gethostname()}\n")
                self._file.flush()

    def _open_locked(self) -> TextIO:
        while True:
            file = open(self.path, "a+")
            self._lock(file)
            if self.path.exists() and os.path.samestat(os.fstat(file.fileno()), self.path.stat()):
                return file
            file.close()  # the process that held the lock has just removed this file

    def _lock(self, file: TextIO) -> None:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            with file:
                file.seek(0)
                raise ConfigError(_occupied(self.path.parent, file.read().split())) from None
        except OSError as error:
            if error.errno not in UNSUPPORTED:
                raise
            note(
                f"{self.path.parent} is on a file system without locks: see to it that no other"
                " process writes there."
            )

    def release(self) -> None:
        """Gives up the right to write."""
        if self._file is not None:
            self.path.unlink(missing_ok=True)
            self._file.close()
            self._file = None

    def __enter__(self) -> "Lock":
        self.acquire()
        return self

    def __exit__(self, *error) -> None:
        self.release()


def _occupied(folder: Path, holder: list[str]) -> str:
    """Returns who writes in the folder, and what to do about it, as a sentence."""
    another = "or choose another directory"
    if len(holder) != 2:
        return f"Another process writes in {folder}; wait for it to end, {another}."
    process, host = holder
    if (process, host) == (str(os.getpid()), socket.gethostname()):
        return (
            f"This process ({process} on {host}) already writes in {folder}; close the other"
            " object first."
        )
    return (
        f"Process {process} on {host} writes in {folder}; wait for it to end, stop it"
        f" (kill {process}), {another}."
    )
