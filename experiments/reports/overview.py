"""Verdicts at a glance: counted, sorted, as a coloured list with a filter, and as a figure."""

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
}  # the order in which verdicts are listed everywhere
DEFINITIONS = (
    "A claim is supported or falsified if its rule decides so, also after Holm's correction "
    "for all rules of its study; "
    "inconclusive says that the numbers leave both open, not that there is no effect."
)


def by_outcome(
    verdicts: Iterable[Any], outcome: Callable[[Any], str] = itemgetter("verdict")
) -> list[Any]:
    """Returns the verdicts sorted by outcome: supported, falsified, inconclusive."""
    return sorted(verdicts, key=lambda verdict: list(COLORS).index(outcome(verdict)))


def count(lines: list[Record]) -> dict[str, int]:
    """Returns how many verdicts there are of each kind.

    >>> count([{"verdict": "supported"}, {"verdict": "inconclusive"}, {"verdict": "supported"}])
    {'supported': 2, 'falsified': 0, 'inconclusive': 1}
    """
    return {kind: len(select(lines, verdict=kind)) for kind in COLORS}


def count_verdicts(lines: list[Record]) -> str:
    """Returns the numbers of verdicts in words.

    >>> verdicts = [{"verdict": "supported"}, {"verdict": "inconclusive"}, {"verdict": "supported"}]
    >>> count_verdicts(verdicts)
    'of 3 claims 2 are supported, 0 falsified and 1 inconclusive'
    """
    n = count(lines)
    undecided = f"{n['falsified']} falsified and {n['inconclusive']} inconclusive"
    return f"of {len(lines)} claims {n['supported']} are supported, {undecided}"


def summarize_verdicts(lines: list[Record]) -> str:
    """Returns a sentence on the studies where most claims hold, and those with a falsified one."""
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
    falsified = f"Some are falsified in {', '.join(map(words, wrong))}."
    return f"{said} {falsified if wrong else 'None is falsified.'}"


def verdict_list(lines: list[Record], links: dict[str, str] | None = None) -> Markup:
    """Returns the verdicts sorted by outcome, a coloured box each, below a filter without script.

    Args:
      lines: verdict and claim of each, and evidence, rule and study where there are any.
      links: the anchor of each study's section.
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
    claim = f"<p><strong>{kind}</strong> {study}{escape(line['claim'])}</p>"
    return f'<div class="verdict {kind}">{claim}{more}</div>'


@matplotlib.rc_context(STYLE)
def figure(lines: list[Record]) -> Figure:
    """Draws a bar per study with the number of verdicts of each kind, the most supported on top."""
    counts = {study: count(select(lines, study=study)) for study in distinct(lines, "study")}

    def rank(study):
        n = counts[study]
        return -n["supported"], -n["falsified"], n["inconclusive"]

    order = sorted(counts, key=rank)
    drawn, panels = page(1, 1, height=0.2 * len(order) + 0.8)
    panel, left = panels[0][0], np.zeros(len(order))
    for kind, color in COLORS.items():
        width = np.array([counts[study][kind] for study in order])
        panel.barh(range(len(order)), width, left=left, color=color, height=0.75)
        for y in np.flatnonzero(width):
            middle = left[y] + width[y] / 2
            panel.text(middle, y, width[y], ha="center", va="center", fontsize=8, color="black")
        left = left + width
    panel.set_yticks(range(len(order)), [words(study) for study in order])
    panel.set(xlabel="claims", ylim=(len(order) - 0.4, -0.6))
    panel.grid(axis="y", visible=False)
    return legend(drawn, [Patch(color=color, label=kind) for kind, color in COLORS.items()])
