"""A few of many rows, as a figure needs them, without keeping the many in memory."""

from collections.abc import Iterable
from typing import Any

Entry = dict[str, Any]


class Evenly:
    """At most `most` of the rows that are added, evenly spread, the first among them."""

    def __init__(self, most: int):
        self.entries: list[Entry] = []
        self._most, self._added, self._stride = most, 0, 1

    def add(self, row: Entry) -> None:
        """Keeps the row or drops it; where too many are kept, every second one goes."""
        if self._added % self._stride == 0:
            self.entries.append(row)
        if len(self.entries) > self._most:
            self.entries, self._stride = self.entries[::2], 2 * self._stride
        self._added += 1


def thin(rows: Iterable[Entry], most: int = 1000) -> list[Entry]:
    """Returns evenly spread rows, the first and the last among them: at most `most` of each kind, that is, with the same columns.

    >>> [row["step"] for row in thin(({"step": i} for i in range(11)), most=4)]
    [0, 4, 8, 10]
    """
    kinds: dict[tuple[str, ...], Evenly] = {}
    last: list[Entry] = []
    for row in rows:
        kinds.setdefault(tuple(row), Evenly(most)).add(row)
        last = [row]
    kept = {row["step"]: row for kind in kinds.values() for row in [*kind.entries, *last]}
    return [kept[step] for step in sorted(kept)]
