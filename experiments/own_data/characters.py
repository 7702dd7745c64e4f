"""Characters that no token stands for, in questions and answers of one's own: counted and refused, or spelled, or left out."""

from collections import Counter
from typing import Literal, get_args

from agentic_rl.config import check
from agentic_rl.envs.dataset import CHARACTERS

Rows = dict[int, tuple[str, str]]  # question and answer by the number of their row
Unknown = Literal["refuse", "spell", "drop"]  # what becomes of the pairs that have such characters


def fit(rows: Rows, name: str, unknown: str) -> tuple[Rows, list[str]]:
    """Returns rows of known characters only, and what was done for that.

    Raises: ConfigError with the unknown characters and what to do.
    """
    check(
        unknown in get_args(Unknown),
        f"--unknown-characters is one of {', '.join(get_args(Unknown))}, not {unknown}.",
    )
    odd = {number: set("".join(pair).lower()) - set(CHARACTERS) for number, pair in rows.items()}
    bad = [number for number, found in odd.items() if found]
    if not bad:
        return rows, []
    shown = list_characters(Counter(c for found in odd.values() for c in sorted(found)))
    where = f"in {len(bad):,} of {len(rows):,} pairs (first in row {bad[0]})"
    check(
        unknown != "refuse",
        _refusal(
            f"{name} has characters that no token stands for, {shown}, {where}.", min(odd[bad[0]])
        ),
    )
    if unknown == "spell":
        return {n: (spell(q), spell(a)) for n, (q, a) in rows.items()}, [
            f"{shown} are spelled as in URLs, {where}"
        ]
    kept = {number: pair for number, pair in rows.items() if not odd[number]}
    check(
        bool(kept),
        f"Every pair of {name} has characters that no token stands for ({shown}): add --unknown-characters spell instead.",
    )
    return kept, [f"{len(bad):,} pairs with {shown} are left out"]


def _refusal(what: str, example: str) -> str:
    spell = f"--unknown-characters spell (as in URLs: {visible(example)} becomes {spell(example)})"
    return f"{what} Write them otherwise, or add {spell} or --unknown-characters drop (leaves these pairs out)."


def list_characters(count: Counter) -> str:
    """Returns the characters, the commonest first, and not all of very many.

    >>> listed(Counter("éé\\tßµ"))
    'é U+0009 ß µ'
    """
    first = " ".join(visible(c) for c, _ in count.most_common(8))
    return first + (f" and {len(count) - 8} others" if len(count) > 8 else "")


def visible(character: str) -> str:
    """Returns the character, or its code if it cannot be seen."""
    return (
        character
        if character.isprintable() and not character.isspace()
        else f"U+{ord(character):04X}"
    )


def spell(text: str) -> str:
    """Returns the text with %xx for each byte of what has no token, as in URLs, and for % itself: nothing is lost but case.

    >>> spelled("Café 5%")
    'caf%c3%a9 5%25'
    """
    known = set(CHARACTERS) - {"%"}
    return "".join(
        c if c in known else "".join(f"%{b:02x}" for b in c.encode("utf-8", "surrogatepass"))
        for c in text.lower()
    )
