"""The one vocabulary of 64 tokens that every task shares: 16 control, 16 values, 16 entities, 16 verbs and rules.

>>> text([BOS, value(3), OBS, entity(0)])
'BOS v3 OBS n0'
"""

from collections.abc import Iterable
from typing import SupportsInt

CONTROL = ("PAD BOS END OBS ACT THINK OK FAIL DONE SUBMIT UNDO WAIT CHECK REPLAN ERR NOTE").split()
PAD, BOS, END, OBS, ACT, THINK, OK, FAIL, DONE, SUBMIT, UNDO, WAIT, CHECK, REPLAN, ERR, NOTE = (
    range(16)
)
VERBS = (
    "LEFT RIGHT OPEN KEY EMPTY DOOR UP DOWN PLUS MINUS TIMES DIVIDE LOOKUP CALC ANSWER FIX"
).split()
(
    LEFT,
    RIGHT,
    OPEN,
    KEY,
    EMPTY,
    DOOR,
    UP,
    DOWN,
    PLUS,
    MINUS,
    TIMES,
    DIVIDE,
    LOOKUP,
    CALC,
    ANSWER,
    FIX,
) = range(48, 64)

VALUE, ENTITY, VERB = 16, 32, 48  # the first id of each block
NAMES = [*CONTROL, *(f"v{i}" for i in range(16)), *(f"n{i}" for i in range(16)), *VERBS]
VOCABULARY = len(NAMES)


def value(index):
    """The token of value `index` (0 to 15); works on arrays."""
    return VALUE + index


def entity(index):
    """The token of entity `index` (0 to 15); works on arrays."""
    return ENTITY + index


def text(ids: Iterable[SupportsInt]) -> str:
    """The names of `ids`, separated by spaces."""
    return " ".join(NAMES[int(i)] for i in ids)
