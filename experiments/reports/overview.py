"""What came out, at a glance: verdicts counted and sorted, in colour and with a filter, as a list of a page and as a figure."""

from collections.abc import Callable, Iterable
from html import escape
from operator import itemgetter
from typing import Any

import matplotlib
import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from experiments.reports.display_names import words
from experiments.reports.figures import STYLE, legend, page
from experiments.reports.report import Markup
from experiments.reports.stats import Record, distinct, select

COLORS = {
    "supported": "#009E73",
    "falsified": "#D55E00",
    "inconclusive": "#BBBBBB",
}  # in this order, everywhere
DEFINITIONS = (
    "A claim is supported or falsified if its rule decides so, also after Holm's correction for all rules of its study; "
    "inconclusive says that the numbers leave both open, not that there is no effect."
)


def by_outcome(
    verdicts: Iterable[Any], outcome: Callable[[Any], str] = itemgetter("verdict")
) -> list[Any]:
    """Returns the verdicts (by default records) with what is decided first: supported, falsified, inconclusive."""
    return sorted(verdicts, key=lambda verdict: list(COLORS).index(outcome(verdict)))


def count(lines: list[Record]) -> dict[str, int]:
    """Returns how many verdicts there are of each kind.

    >>> count([{"verdict": "supported"}, {"verdict": "inconclusive"}, {"verdict": "supported"}])
    {'supported': 2, 'falsified': 0, 'inconclusive': 1}
    """
    return {kind: len(select(lines, verdict=kind)) for kind in COLORS}


def count_verdicts(lines: list[Record]) -> str:
    """Returns the numbers of verdicts in words.

    >>> counted([{"verdict": "supported"}, {"verdict": "inconclusive"}, {"verdict": "supported"}])
    'of 3 claims 2 are supported, 0 falsified and 1 inconclusive'
    """
    n = count(lines)
    return f"of {len(lines)} claims {n['supported']} are supported, {n['falsified']} falsified and {n['inconclusive']} inconclusive"


def summarize_verdicts(lines: list[Record]) -> str:
    """Returns a sentence on where most claims hold, and where one is falsified."""
    counts = {study: count(select(lines, study=study)) for study in distinct(lines, "study")}
    share = {
        study: n["supported"] / sum(n.values()) for study, n in counts.items() if n["supported"]
    }
    most = sorted(share, key=lambda study: (-share[study], -counts[study]["supported"]))[:3]
    wrong = [study for study, n in counts.items() if n["falsified"]]
    held = ", ".join(
        f"{words(study)} ({counts[study]['supported']} of {sum(counts[study].values())})"
        for study in most
    )
    said = f"Claims hold most often in {held}." if most else "No claim is supported."
    return f"{said} {'Some are falsified in ' + ', '.join(map(words, wrong)) if wrong else 'None is falsified'}."


def verdict_list(lines: list[Record], links: dict[str, str] | None = None) -> Markup:
    """Returns the verdicts sorted by outcome, a coloured box each, with a filter above them that needs no script.

    Each line has a verdict and a claim, and may have evidence, a rule and a study; `links` are the anchors of studies.
    """
    n = {"all": len(lines)} | count(lines)
    choices = "".join(_choice(kind, number) for kind, number in n.items())
    boxes = "\n".join(
        _box(line, (links or {}).get(line.get("study", ""), "")) for line in by_outcome(lines)
    )
    return Markup(
        f'<div class="judged"><fieldset><legend>Show</legend>{choices}</fieldset>\n{boxes}</div>'
    )


def _choice(kind: str, number: int) -> str:
    button = f'<input type="radio" name="shown" class="only-{kind}"{" checked" * (kind == "all")}>'
    return f'<label class="{kind}">{button} {kind} ({number})</label>'


def _box(line: Record, link: str) -> str:
    name = escape(words(line["study"])) if "study" in line else ""
    study = f'<a href="#{link}">{name}</a>: ' if link else f"{name}: " * bool(name)
    more = "".join(
        f"<p>{label}{escape(line[key])}</p>"
        for key, label in (("evidence", ""), ("rule", "Rule: "))
        if key in line
    )
    kind = escape(line["verdict"])
    return f'<div class="verdict {kind}"><p><strong>{kind}</strong> {study}{escape(line["claim"])}</p>{more}</div>'


@matplotlib.rc_context(STYLE)
def figure(lines: list[Record]) -> Figure:
    """How many verdicts of each kind each study came to, a bar each, the study with the most that is decided on top."""
    counts = {study: count(select(lines, study=study)) for study in distinct(lines, "study")}
    order = sorted(
        counts,
        key=lambda study: (
            -counts[study]["supported"],
            -counts[study]["falsified"],
            counts[study]["inconclusive"],
        ),
    )
    drawn, panels = page(1, 1, height=0.2 * len(order) + 0.8)
    panel, left = panels[0][0], np.zeros(len(order))
    for kind, color in COLORS.items():
        width = np.array([counts[study][kind] for study in order])
        panel.barh(range(len(order)), width, left=left, color=color, height=0.75)
        for y in np.flatnonzero(width):
            panel.text(
                left[y] + width[y] / 2,
                y,
                width[y],
                ha="center",
                va="center",
                fontsize=8,
                color="black",
            )
        left = left + width
    panel.set_yticks(range(len(order)), [words(study) for study in order])
    panel.set(xlabel="claims", ylim=(len(order) - 0.4, -0.6))
    panel.grid(axis="y", visible=False)
    return legend(drawn, [Patch(color=color, label=kind) for kind, color in COLORS.items()])
