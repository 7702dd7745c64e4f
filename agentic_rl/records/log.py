"""A log: a file with one JSON object, an entry, per line, each with its `step` and its `time`.

Entries are appended and read one by one, so that a log may be larger than the memory. A line is
damaged if it is no entry (a power cut leaves zeros, a second process half a line) or repeats a
step. Reading skips damaged lines, and `cut_after` moves them into a file beside the log.
"""

import json
import os
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from agentic_rl.records import atomic_files
from agentic_rl.records.disk_errors import note, reading

Entry = dict[str, Any]


class Places(NamedTuple):
    """The byte at which each line of a log begins."""

    entries: dict[int, int]  # step -> byte
    damaged: list[int]
    unfinished: int | None  # a last line without its end: a kill may have cut it off


class Log:
    """The log at `path`, which need not exist yet.

    Args:
      is_entry: whether an object with a step and a time is an entry of this log.
    """

    def __init__(self, path: Path, is_entry: Callable[[Entry], bool]):
        self.path = path
        self._is_entry = is_entry

    def append(self, entry: Entry) -> Entry:
        """Adds an entry with the present time, and returns it as it will be read."""
        return self.write({**entry, "time": time.time()})

    def write(self, entry: Entry) -> Entry:
        """Adds an entry that has its time. If the disk refuses it, no part of it stays."""
        line = to_json(entry)
        with open(self.path, "ab", buffering=0) as file:
            end, rest = file.tell(), memoryview(line.encode() + b"\n")
            try:
                while rest:
                    rest = rest[file.write(rest) :]
            except OSError:
                file.truncate(end)
                raise
        return json.loads(line)

    def entries(self) -> Iterator[Entry]:
        """Yields the entries one by one, ordered by step."""
        places = self._places()
        if count := len(places.damaged):
            lines = "1 line that is" if count == 1 else f"{count} lines that are"
            note(f"{self.path} holds {lines} damaged or out of place; the others are read.")
        for line in self._lines(places.entries[step] for step in sorted(places.entries)):
            yield json.loads(line)

    def entry(self, step: int) -> Entry | None:
        """Returns the entry of a step, or None if there is none."""
        place = self._places().entries.get(step)
        lines = [] if place is None else list(self._lines([place]))
        return json.loads(lines[0]) if lines else None

    def last(self) -> int | None:
        """Returns the last step, or None if the log is empty."""
        return max(self._places().entries, default=None)

    def cut_after(self, last: int) -> None:
        """Drops the entries after step `last`, and moves damaged lines into `NAME.damaged`."""
        entries, damaged, unfinished = self._places()
        dropped = [step for step in entries if step > last]
        kept = sorted(step for step in entries if step <= last)
        if unfinished is not None and unfinished not in entries.values():
            damaged.append(unfinished)
        if damaged or unfinished is not None or list(entries) != kept + dropped:
            self._rewrite([entries[step] for step in kept], damaged)
        elif dropped:
            os.truncate(self.path, entries[dropped[0]])

    def _rewrite(self, kept: list[int], damaged: list[int]) -> None:
        aside = self.path.with_name(f"{self.path.name}.damaged")
        if damaged:
            with open(aside, "ab") as file:
                file.writelines(self._lines(damaged))
                file.flush()
                os.fsync(file.fileno())
            note(
                f"{self.path} was damaged; what could not be read of it, or stood there twice,"
                f" is in {aside.name}."
            )
        with atomic_files.writer(self.path) as file:
            file.writelines(self._lines(kept))

    def _places(self) -> Places:
        places, place = Places({}, [], None), 0
        if not self.path.exists():
            return places
        with reading(self.path), open(self.path, "rb") as file:
            for line in file:
                entry, is_whole = self._parse(line), line.endswith(b"\n")
                if entry is not None and entry["step"] not in places.entries:
                    places.entries[entry["step"]] = place
                elif is_whole:
                    places.damaged.append(place)
                if not is_whole:
                    places = places._replace(unfinished=place)
                place += len(line)
        return places

    def _parse(self, line: bytes) -> Entry | None:
        try:
            entry = json.loads(line)
        except (ValueError, RecursionError):
            return None
        if not isinstance(entry, dict) or type(entry.get("step")) is not int:
            return None
        has_time = isinstance(entry.get("time"), int | float)
        return entry if has_time and self._is_entry(entry) else None

    def _lines(self, places: Iterable[int]) -> Iterator[bytes]:
        if self.path.exists():
            with reading(self.path), open(self.path, "rb") as file:
                for place in places:
                    file.seek(place)
                    yield file.readline().rstrip(b"\n") + b"\n"


def to_json(value: Any, **options) -> str:
    """Returns the value as JSON, arrays as lists; floats read back exactly."""
    return json.dumps(value, default=lambda array: np.asarray(array).tolist(), **options)


def has_numbers(entry: Entry, seeds: int | None = None) -> bool:
    """Returns whether every value is a number or a list of numbers.

    A list must have one number per seed if the number of seeds is known.
    """
    lists = [x for x in entry.values() if isinstance(x, list)]
    if seeds is not None and any(len(numbers) != seeds for numbers in lists):
        return False
    single = [x for x in entry.values() if not isinstance(x, list)]
    return all(
        isinstance(number, int | float) for numbers in [single, *lists] for number in numbers
    )


def has_texts(entry: Entry) -> bool:
    """Returns whether there is a list of texts under "episodes"."""
    texts = entry.get("episodes")
    return isinstance(texts, list) and all(isinstance(text, str) for text in texts)
