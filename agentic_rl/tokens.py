"""Defines the 64 tokens that all tasks share: 16 each of control, values, entities, and verbs.

>>> text([BOS, value(3), OBS, entity(0)])
'BOS v3 OBS n0'
"""

from collections.abc import Iterable
from typing import SupportsInt

VALUE, ENTITY, VERB = 16, 32, 48  # the first id of each block after the control tokens

CONTROL = "PAD BOS END OBS ACT THINK OK FAIL DONE SUBMIT UNDO WAIT CHECK REPLAN ERR NOTE".split()
PAD, BOS, END, OBS, ACT, THINK, OK, FAIL = range(0, 8)
DONE, SUBMIT, UNDO, WAIT, CHECK, REPLAN, ERR, NOTE = range(8, 16)

VERBS = "LEFT RIGHT OPEN KEY EMPTY DOOR UP DOWN PLUS MINUS TIMES DIVIDE LOOKUP CALC ANSWER FIX"
VERBS = VERBS.split()
LEFT, RIGHT, OPEN, KEY, EMPTY, DOOR, UP, DOWN = range(VERB, VERB + 8)
PLUS, MINUS, TIMES, DIVIDE, LOOKUP, CALC, ANSWER, FIX = range(VERB + 8, VERB + 16)

NAMES = [*CONTROL, *(f"v{i}" for i in range(16)), *(f"n{i}" for i in range(16)), *VERBS]
VOCABULARY = len(NAMES)


def value(index):
    """Returns the token of value `index` (0 to 15), or the tokens of an array of them."""
    return VALUE + index


def entity(index):
    """Returns the token of entity `index` (0 to 15), or the tokens of an array of them."""
    return ENTITY + index


def text(ids: Iterable[SupportsInt]) -> str:
    """Returns the names of `ids`, separated by spaces."""
    return " ".join(NAMES[int(i)] for i in ids)
