"""Finds characters that have no token, and refuses them, spells them, or drops their pairs."""

from collections import Counter
from typing import Literal, get_args

from agentic_rl.config import check
from agentic_rl.envs.dataset import CHARACTERS

Rows = dict[int, tuple[str, str]]  # question and answer by the number of their row
Unknown = Literal["refuse", "spell", "drop"]  # what to do with characters that have no token
MAX_LISTED = 8  # characters in a sentence


def fit(rows: Rows, name: str, unknown: str) -> tuple[Rows, list[str]]:
    """Returns rows that have tokens for all of their characters, and notes on what was changed.

    Raises: ConfigError with the unknown characters and what to do.
    """
    allowed = get_args(Unknown)
    check(
        unknown in allowed,
        f"--unknown-characters is one of {', '.join(allowed)}, not {unknown}.",
    )
    odd = unknown_characters(rows)
    if not odd:
        return rows, []
    listed = list_characters(Counter(c for found in odd.values() for c in sorted(found)))
    first = min(odd)
    where = f"in {len(odd):,} of {len(rows):,} pairs (first in row {first})"
    check(unknown != "refuse", _refusal(f"{name} has", f"{listed}, {where}", min(odd[first])))
    if unknown == "spell":
        spelled = {number: (spell(q), spell(a)) for number, (q, a) in rows.items()}
        return spelled, [f"{listed} are spelled as in URLs, {where}"]
    kept = {number: pair for number, pair in rows.items() if number not in odd}
    check(
        bool(kept),
        f"Every pair of {name} has characters that have no token ({listed}): "
        "add --unknown-characters spell instead.",
    )
    pairs = "1 pair" if len(odd) == 1 else f"{len(odd):,} pairs"
    return kept, [f"without {pairs} with {listed}"]


def unknown_characters(rows: Rows) -> dict[int, set[str]]:
    """Returns the characters that have no token, by the number of their row."""
    known = set(CHARACTERS)
    found = {number: set("".join(pair).lower()) - known for number, pair in rows.items()}
    return {number: characters for number, characters in found.items() if characters}


def _refusal(subject: str, listed: str, example: str) -> str:
    spelled = f"as in URLs: {visible(example)} becomes {spell(example)}"
    return (
        f"{subject} characters that have no token, {listed}. Write them otherwise, or add "
        f"--unknown-characters spell ({spelled}) or --unknown-characters drop (leaves these "
        "pairs out)."
    )


def list_characters(counts: Counter) -> str:
    """Returns the commonest characters, and how many others there are.

    >>> list_characters(Counter("éé\\tßµ"))
    'é U+0009 ß µ'
    """
    listed = " ".join(visible(character) for character, _ in counts.most_common(MAX_LISTED))
    others = len(counts) - MAX_LISTED
    return f"{listed} and {others} others" if others > 0 else listed


def visible(character: str) -> str:
    """Returns the character, or its code if it cannot be seen."""
    is_visible = character.isprintable() and not character.isspace()
    return character if is_visible else f"U+{ord(character):04X}"


def spell(text: str) -> str:
    """Returns the text with %xx for each byte of a character that has no token, as in URLs.

    The character % is spelled, too, so that nothing but upper case is lost.

    >>> spell("Café 5%")
    'caf%c3%a9 5%25'
    """
    known = set(CHARACTERS) - {"%"}

    def spell_character(c: str) -> str:
        return c if c in known else "".join(f"%{b:02x}" for b in c.encode("utf-8", "surrogatepass"))

    return "".join(map(spell_character, text.lower()))
