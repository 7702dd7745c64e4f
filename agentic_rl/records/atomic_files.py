"""Files that are whole at any time: written beside their place, flushed to the disk, then renamed."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO


def write(path: Path, content: str | bytes) -> None:
    """Writes the file whole or not at all, whatever kills the process or the machine meanwhile."""
    with writer(path) as file:
        file.write(content.encode() if isinstance(content, str) else content)


@contextmanager
def writer(path: Path) -> Iterator[BinaryIO]:
    """Opens a file that takes the place of `path` when the block ends, and vanishes if it fails."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with open(temporary, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
