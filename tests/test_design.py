"""The drawing of rooms in docs/design.md is the table that the imports are held to.

`python -m tests.test_design` writes it anew.
"""

import re
from pathlib import Path

from tests.layers import LAYERS

PAGE = Path(__file__).parents[1] / "docs" / "design.md"
PLACE = re.compile(r"(?<=<!-- layers -->\n).*?(?=<!-- /layers -->)", re.DOTALL)


def drawing() -> str:
    """Returns the layers of both packages as an indented block, the highest first."""
    lines = []
    for package in ("experiments", "agentic_rl"):
        lines += [
            package,
            *("  " + "  ".join(sorted(rooms)) for rooms in reversed(LAYERS[package])),
        ]
    return "\n" + "".join(f"    {line}\n" for line in lines) + "\n"


def test_the_drawing_shows_the_layers_of_both_packages():
    stale = "Run `python -m tests.test_design` and commit docs/design.md."
    assert PLACE.search(PAGE.read_text(encoding="utf-8"))[0] == drawing(), stale


if __name__ == "__main__":
    PAGE.write_text(PLACE.sub(lambda _: drawing(), PAGE.read_text(encoding="utf-8")))
