"""A log: a file with a JSON object, or row, in each line, which has its `step` and its `time`.

Rows are appended one by one and read one by one, so that a log may be larger than the memory. A line that is no row (a power cut leaves
zeros, a second process half a line) or that repeats a step is damaged: reading leaves it out, and `keep` moves it into a file beside.
"""

import json
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from agentic_rl import atomic
from agentic_rl.disk import note, reading

Row = dict[str, Any]


class Places(NamedTuple):
    """Where the lines of a log begin."""

    rows: dict[int, int]  # step -> byte
    damaged: list[int]
    unfinished: int | None  # a last line that does not end: a kill may have cut it


class Log:
    """The log at `path`, which need not exist yet. `is_row` says whether a value with step and time is one of its rows."""

    def __init__(self, path: Path, is_row: Callable[[Row], bool]):
        self.path = path
        self._is_row = is_row

    def append(self, row: Row) -> Row:
        """Adds a row at the present time and returns it as it will be read. A row that the disk refuses leaves no part of it."""
        return self.put({**row, "time": time.time()})

    def put(self, row: Row) -> Row:
        """Adds a row that has its time."""
        line = to_json(row)
        with open(self.path, "ab", buffering=0) as file:
            end, rest = file.tell(), memoryview(line.encode() + b"\n")
            try:
                while rest:
                    rest = rest[file.write(rest) :]
            except OSError:
                file.truncate(end)
                raise
        return json.loads(line)

    def rows(self) -> Iterator[Row]:
        """The rows one by one, ordered by step."""
        places = self._places()
        if places.damaged:
            lines = "1 line that is" if len(places.damaged) == 1 else f"{len(places.damaged)} lines that are"
            note(f"{self.path} holds {lines} damaged or out of place; the others are read.")
        for line in self._lines(places.rows[step] for step in sorted(places.rows)):
            yield json.loads(line)

    def row(self, step: int) -> Row | None:
        """The row of a step; None if there is none."""
        places = self._places().rows
        return next((json.loads(line) for line in self._lines(places[s] for s in places if s == step)), None)

    def last(self) -> int | None:
        """The last step."""
        return max(self._places().rows, default=None)

    def keep(self, last: int) -> None:
        """Cuts off the rows behind step `last`, and moves damaged lines into a file beside, named after this one and `.damaged`."""
        rows, damaged, unfinished = self._places()
        behind = [step for step in rows if step > last]
        kept = sorted(step for step in rows if step <= last)
        if unfinished is not None and unfinished not in rows.values():
            damaged.append(unfinished)
        if damaged or unfinished is not None or list(rows) != kept + behind:
            self._rewrite([rows[step] for step in kept], damaged)
        elif behind:
            os.truncate(self.path, rows[behind[0]])

    def _rewrite(self, kept: list[int], damaged: list[int]) -> None:
        beside = self.path.with_name(f"{self.path.name}.damaged")
        if damaged:
            with open(beside, "ab") as file:
                file.writelines(self._lines(damaged))
                file.flush()
                os.fsync(file.fileno())
            note(f"{self.path} was damaged; what could not be read of it, or stood there twice, is in {beside.name}.")
        with atomic.writer(self.path) as file:
            file.writelines(self._lines(kept))

    def _places(self) -> Places:
        places, place = Places({}, [], None), 0
        if not self.path.exists():
            return places
        with reading(self.path), open(self.path, "rb") as file:
            for line in file:
                row, is_whole = self._parse(line), line.endswith(b"\n")
                if row is not None and row["step"] not in places.rows:
                    places.rows[row["step"]] = place
                elif is_whole:
                    places.damaged.append(place)
                if not is_whole:
                    places = places._replace(unfinished=place)
                place += len(line)
        return places

    def _parse(self, line: bytes) -> Row | None:
        try:
            row = json.loads(line)
        except (ValueError, RecursionError):
            return None
        has_both = isinstance(row, dict) and type(row.get("step")) is int and isinstance(row.get("time"), int | float)
        return row if has_both and self._is_row(row) else None

    def _lines(self, places: Iterator[int] | list[int]) -> Iterator[bytes]:
        if self.path.exists():
            with reading(self.path), open(self.path, "rb") as file:
                for place in places:
                    file.seek(place)
                    yield file.readline().rstrip(b"\n") + b"\n"


def to_json(value: Any, **options) -> str:
    """The value as JSON, arrays as lists; floats are written so that they read back exactly."""
    return json.dumps(value, default=lambda array: np.asarray(array).tolist(), **options)


def has_numbers(row: Row, seeds: int | None = None) -> bool:
    """Is every value a number, or a list of numbers, one for each seed if it is known how many there are?"""
    lists = [value for value in row.values() if isinstance(value, list)]
    is_whole = seeds is None or all(len(values) == seeds for values in lists)
    return is_whole and all(isinstance(x, int | float) for value in row.values() for x in (value if isinstance(value, list) else [value]))


def has_texts(row: Row) -> bool:
    """Is there a list of texts under "episodes"?"""
    texts = row.get("episodes")
    return isinstance(texts, list) and all(isinstance(text, str) for text in texts)
