"""Picks a few of many log entries for a figure, without holding them all in memory."""

from collections.abc import Iterable
from typing import Any

Entry = dict[str, Any]


class EvenSample:
    """Keeps at most `most` of the entries that are added, evenly spaced, the first among them."""

    def __init__(self, most: int):
        self.entries: list[Entry] = []
        self._most, self._num_added, self._stride = most, 0, 1

    def add(self, entry: Entry) -> None:
        """Keeps or drops the entry. Once there are too many, every second one is dropped."""
        if self._num_added % self._stride == 0:
            self.entries.append(entry)
        if len(self.entries) > self._most:
            self.entries, self._stride = self.entries[::2], 2 * self._stride
        self._num_added += 1


def thin(entries: Iterable[Entry], most: int = 1000) -> list[Entry]:
    """Returns evenly spaced entries, the first and the last among them.

    At most `most` are kept of each kind; entries with the same columns are of one kind.

    >>> [entry["step"] for entry in thin(({"step": i} for i in range(11)), most=4)]
    [0, 4, 8, 10]
    """
    samples: dict[tuple[str, ...], EvenSample] = {}
    last: list[Entry] = []
    for entry in entries:
        samples.setdefault(tuple(entry), EvenSample(most)).add(entry)
        last = [entry]
    kept = {entry["step"]: entry for kind in samples.values() for entry in [*kind.entries, *last]}
    return [kept[step] for step in sorted(kept)]
