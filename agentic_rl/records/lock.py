"""The right to write in a folder, which one process at a time has."""

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
    """A file `lock` in a folder that says who writes there. The system frees it when its process ends, however that ends."""

    def __init__(self, folder: Path):
        self.path = folder / "lock"
        self._file: TextIO | None = None

    def acquire(self) -> None:
        """Takes the right to write, if this object has it not yet. Makes the folder if need be.

        Raises: ConfigError that names the process that has it, or if the folder cannot be written to.
        """
        if self._file is None:
            with writing(self.path.parent):
                self.path.parent.mkdir(parents=True, exist_ok=True)
                self._file = self._locked()
                self._file.truncate(0)
                self._file.write(f"{os.getpid()} {socket.gethostname()}\n")
                self._file.flush()

    def _locked(self) -> TextIO:
        while True:
            file = open(self.path, "a+")
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                with file:
                    file.seek(0)
                    raise ConfigError(_taken(self.path.parent, file.read().split())) from None
            except OSError as error:
                if error.errno not in UNSUPPORTED:
                    raise
                note(
                    f"{self.path.parent} is on a file system without locks: see to it that no other process writes there."
                )
            if self.path.exists() and os.path.samestat(os.fstat(file.fileno()), self.path.stat()):
                return file
            file.close()  # whoever had it removed the file just now

    def release(self) -> None:
        """Gives the right back."""
        if self._file is not None:
            self.path.unlink(missing_ok=True)
            self._file.close()
            self._file = None

    def __enter__(self) -> "Lock":
        self.acquire()
        return self

    def __exit__(self, *error) -> None:
        self.release()


def _taken(folder: Path, holder: list[str]) -> str:
    if len(holder) != 2:
        return (
            f"Another process writes in {folder}; wait for it to end, or choose another directory."
        )
    process, host = holder
    if (process, host) == (str(os.getpid()), socket.gethostname()):
        return f"This process ({process} on {host}) already writes in {folder}; close the other object first."
    return f"Process {process} on {host} writes in {folder}; wait for it to end, stop it (kill {process}), or choose another directory."
