"""What an experiment leaves behind: CSVs that read back exactly, a table in three formats, verdicts, and one page that works offline."""

import base64
import csv
import io
from collections.abc import Sequence
from html import escape
from pathlib import Path
from typing import Any, Literal, NamedTuple

from matplotlib.figure import Figure

from agentic_rl.records import atomic_files
from experiments.reports.figures import to_bytes
from experiments.reports.stats import Record, caution, distinct, estimate, scores, select

COLUMNS = {  # name in the table: column, horizon, format
    "success 1x": ("success", 1, ".2f"), "2x": ("success", 2, ".2f"), "4x": ("success", 4, ".2f"), "per turn": ("per_turn", 1, ".3f"),
    "expert labels": ("expert_labels", 1, ",.0f"), "env steps": ("env_steps", 1, ",.0f"),
}  # fmt: skip
PROVENANCE = ("command", "commit", "versions", "seeds", "budget")
CSS = """
body{font:16px/1.5 system-ui,sans-serif;color:#222;background:#fff;max-width:58rem;margin:0 auto;padding:1rem;overflow-wrap:break-word}
h1,h2{line-height:1.2} h2{margin-top:2.5rem} figure{margin:1.5rem 0} img{max-width:100%;height:auto} figcaption{color:#555;font-size:.9rem}
.scroll{overflow-x:auto;margin:1rem 0} table{border-collapse:collapse;font-size:.9rem;white-space:nowrap}
th,td{padding:.35rem .6rem;border-bottom:1px solid #ddd;text-align:left;vertical-align:top} .text{white-space:normal;min-width:15rem}
@media(max-width:40rem){table{font-size:.8rem} th,td{padding:.3rem} .text{min-width:8rem}}
tr>:first-child{position:sticky;left:0;background:#fff;font-weight:600}
.verdict{border-left:.4rem solid #777;background:#f6f6f6;padding:.5rem 1rem;margin:1rem 0} .verdict p{margin:.3rem 0}
.verdict.supported{border-color:#009E73;background:#EAF6F1} .verdict.falsified{border-color:#D55E00;background:#FBEEE6}
.judged .verdict{margin:.4rem 0;padding:.2rem .8rem} .judged fieldset{border:0;padding:0;margin:1rem 0} .judged legend{font-weight:600}
.judged label{display:inline-block;margin:.2rem 1rem .2rem 0;padding:0 .4rem;border-bottom:.2rem solid #777}
.judged label.supported{border-color:#009E73} .judged label.falsified{border-color:#D55E00} .judged label.all{border-color:#fff}
.judged:has(.only-supported:checked) .verdict:not(.supported),.judged:has(.only-falsified:checked) .verdict:not(.falsified),
.judged:has(.only-inconclusive:checked) .verdict:not(.inconclusive){display:none}
.answer{font-size:1.1rem} nav ol{columns:14rem} dt{font-weight:600} dd{margin:0 0 .5rem;font-family:monospace}
"""


class Verdict(NamedTuple):
    """A claim judged by a rule that was stated before the run."""

    claim: str
    rule: str
    outcome: Literal["supported", "falsified", "inconclusive"]
    evidence: str  # one sentence with the numbers
    p: float | None = None  # of the test that decided; None where no single one did


class Picture(NamedTuple):
    """A figure in the page; `alt` says in words what it shows and is also its caption."""

    figure: Figure
    alt: str


class Markup(NamedTuple):
    """HTML that is put into the page as it stands: whoever makes it escapes what it says."""

    html: str


Part = str | list[Record] | Picture | Verdict | Markup  # a paragraph, a table, a figure, a verdict


class Section(NamedTuple):
    """A heading and what stands under it, in order."""

    heading: str
    parts: list[Part]


def outcome(
    low: float, high: float, threshold: float = 0.0
) -> Literal["supported", "falsified", "inconclusive"]:
    """The outcome of the rule "the quantity is above `threshold`", by its interval; NaN is inconclusive."""
    return "supported" if low > threshold else "falsified" if high < threshold else "inconclusive"


def table(results: list[Record], mode: str = "sampled") -> list[Record]:
    """Per row, interquartile means over tasks and seeds with 95% stratified bootstrap intervals: what `text`, `markdown` and `html` print.

    Raises: ValueError if a row lacks a task or a seed at some horizon, or holds one twice.
    """
    return [
        _summary(name, select(results, algorithm=name, mode=mode))
        for name in distinct(results, "algorithm")
    ]


def _summary(row: str, results: list[Record]) -> Record:
    cells = {}
    for name, (column, horizon, form) in COLUMNS.items():
        value, low, high = estimate(scores(select(results, horizon=horizon), column))
        same_count = low == high and form.startswith(",")
        cells[name] = (
            f"{value:{form}}" if same_count else f"{value:{form}} [{low:{form}}, {high:{form}}]"
        )
    return {"algorithm": row} | cells


def note(results: list[Record]) -> str:
    """What the intervals of `table` are, and how far to trust them."""
    seeds, tasks = len(distinct(results, "seed")), len(distinct(results, "task"))
    what = f"Interquartile mean over {seeds} seeds and {tasks} task{'s' * (tasks > 1)} [95% stratified bootstrap interval]."
    return f"{what} {caution(seeds)}".strip()


def text(rows: list[Record]) -> str:
    """The rows as aligned columns for a terminal."""
    lines = [list(rows[0]), *([str(value) for value in row.values()] for row in rows)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
        for line in lines
    )


def markdown(rows: list[Record]) -> str:
    """The rows as a GitHub table."""
    lines = [list(rows[0]), ["---"] * len(rows[0]), *(row.values() for row in rows)]
    return "\n".join(
        "| " + " | ".join(str(cell).replace("|", "\\|") for cell in line) + " |" for line in lines
    )


def html(
    title: str, provenance: dict[str, Any], sections: list[Section], answer: Sequence[Part] = ()
) -> str:
    """Returns one page that needs no other file: the answer, contents, sections, and how it was made.

    It fits a phone, where tables scroll sideways.

    Raises: ValueError unless `provenance` states the command, commit, versions, seeds and budget.
    """
    missing = [name for name in PROVENANCE if not provenance.get(name)]
    if missing:
        raise ValueError(f"A report must state its {', '.join(missing)}.")
    made = (
        "<dl>"
        + "".join(f"<dt>{escape(k)}</dt><dd>{escape(str(v))}</dd>" for k, v in provenance.items())
        + "</dl>"
    )
    bodies = [(s.heading, "\n".join(map(_part, s.parts))) for s in sections] + [
        ("How this was made", made)
    ]
    contents = "".join(
        f'<li><a href="#s{i}">{escape(heading)}</a></li>' for i, (heading, _) in enumerate(bodies)
    )
    body = "\n".join(
        f'<section id="s{i}"><h2>{escape(heading)}</h2>\n{part}</section>'
        for i, (heading, part) in enumerate(bodies)
    )
    head = f'<meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1"><title>{escape(title)}</title>'
    first = f'<div class="answer">{"".join(map(_part, answer))}</div>\n' if answer else ""
    page = f"<h1>{escape(title)}</h1>\n{first}<nav><ol>{contents}</ol></nav>\n{body}"
    return f'<!doctype html>\n<html lang="en"><head>{head}<style>{CSS}</style></head>\n<body>{page}</body></html>\n'


def _part(part: Part) -> str:
    match part:
        case Markup(content):
            return content
        case Picture(figure, alt):
            image = base64.b64encode(to_bytes(figure, dpi=130)).decode()
            return f'<figure><img src="data:image/png;base64,{image}" alt="{escape(alt)}"><figcaption>{escape(alt)}</figcaption></figure>'
        case Verdict(claim, rule, outcome, evidence):
            lines = f"<p><strong>{escape(outcome)}</strong>: {escape(claim)}</p><p>{escape(evidence)}</p><p>Rule: {escape(rule)}</p>"
            return f'<div class="verdict {escape(outcome)}">{lines}</div>'
        case str():
            return f"<p>{escape(part)}</p>"
        case [first, *_]:
            head = "".join(f'<th scope="col">{escape(column)}</th>' for column in first)
            lines = "".join("<tr>" + "".join(map(_td, row.values())) + "</tr>" for row in part)
            return f'<div class="scroll" tabindex="0"><table><thead><tr>{head}</tr></thead><tbody>{lines}</tbody></table></div>'
    raise ValueError(
        f"A section holds paragraphs, tables with at least one row, Pictures and Verdicts, not {part!r}."
    )


def _td(value: Any) -> str:
    """A cell of a table; sentences are wrapped, numbers are not."""
    wraps = ' class="text"' if len(str(value)) > 20 else ""
    return f"<td{wraps}>{escape(str(value))}</td>"


def write(path: Path, content: str | bytes) -> None:
    """Writes the file whole or not at all, as `atomic.write` does; the folder is made if need be."""
    path.parent.mkdir(parents=True, exist_ok=True)
    atomic_files.write(path, content)


def write_csv(path: Path, records: list[Record]) -> None:
    """Writes the records, numbers by their shortest exact form, so that `read_csv` gives them back; atomic like `write`.

    Raises: ValueError, and writes nothing, if the columns differ between records or a value would not read back as itself.
    """
    columns = list(records[0]) if records else []
    for record in records:
        if list(record) != columns:
            raise ValueError(f"Every record needs the columns {columns}, not {list(record)}.")
    lines = [columns, *([_cell(record, column) for column in columns] for record in records)]
    buffer = io.StringIO(newline="")
    csv.writer(buffer, lineterminator="\n").writerows(lines if records else [])
    write(path, buffer.getvalue())


def _cell(record: Record, column: str) -> str:
    value = getattr(
        record[column], "item", lambda: record[column]
    )()  # NumPy and JAX scalars become Python's
    written = value if isinstance(value, str) else repr(value)
    if repr(read_number(written)) != repr(value):
        raise ValueError(
            f"The {column} {value!r} would not read back from CSV as itself; use a number, or a text that is not one."
        )
    return written


def read_number(cell: str) -> int | float | str:
    """Returns what a cell of a CSV file stands for: a number if it reads as one, else its text.

    >>> read_number("1"), read_number("1e-3"), read_number("grpo")
    (1, 0.001, 'grpo')
    """
    for kind in (int, float):
        try:
            return kind(cell)
        except ValueError:
            pass
    return cell


def read_csv(path: Path) -> list[Record]:
    """The records that `write_csv` wrote: whole numbers as int, others as float, the rest as str."""
    with path.open(encoding="utf-8", newline="") as file:
        return [
            {column: read_number(cell) for column, cell in record.items()}
            for record in csv.DictReader(file)
        ]
