"""Output of an experiment: CSVs that read back exactly, tables, and a page that works offline."""

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
from experiments.reports.page_style import CSS
from experiments.reports.stats import Record

PROVENANCE = ("command", "commit", "versions", "seeds", "budget")


class Verdict(NamedTuple):
    """A claim and what its rule, which was stated before the run, says of the records."""

    claim: str
    rule: str
    outcome: Literal["supported", "falsified", "inconclusive"]
    evidence: str  # one sentence with the numbers
    p: float | None = None  # of the test that decided; None if there is no single one


class Picture(NamedTuple):
    """A figure in the page; `alt` says what it shows and is also its caption."""

    figure: Figure
    alt: str


class Markup(NamedTuple):
    """HTML that is put into the page as it stands; its text must be escaped already."""

    html: str


Part = str | list[Record] | Picture | Verdict | Markup  # a paragraph, a table, a figure, a verdict


class Section(NamedTuple):
    """A heading and what stands under it, in order."""

    heading: str
    parts: list[Part]


def outcome(
    low: float, high: float, threshold: float = 0.0
) -> Literal["supported", "falsified", "inconclusive"]:
    """Returns the outcome of the rule "the quantity is above `threshold`", by its interval.

    An interval that is NaN is inconclusive.
    """
    return "supported" if low > threshold else "falsified" if high < threshold else "inconclusive"


def text(rows: list[Record]) -> str:
    """Returns the rows of a table as aligned columns for a terminal."""
    lines = [list(rows[0]), *([str(value) for value in row.values()] for row in rows)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
        for line in lines
    )


def markdown(rows: list[Record]) -> str:
    """Returns the rows of a table as Markdown."""
    lines = [list(rows[0]), ["---"] * len(rows[0]), *(row.values() for row in rows)]
    return "\n".join(
        "| " + " | ".join(str(cell).replace("|", "\\|") for cell in line) + " |" for line in lines
    )


def html(
    title: str, provenance: dict[str, Any], sections: list[Section], answer: Sequence[Part] = ()
) -> str:
    """Returns a page that needs no other file: answer, contents, sections, and provenance.

    It fits a phone, where tables scroll sideways.

    Raises: ValueError unless `provenance` states the command, commit, versions, seeds and budget.
    """
    missing = [name for name in PROVENANCE if not provenance.get(name)]
    if missing:
        raise ValueError(f"A report must state its {', '.join(missing)}.")
    items = (f"<dt>{escape(k)}</dt><dd>{escape(str(v))}</dd>" for k, v in provenance.items())
    bodies = [(s.heading, "\n".join(map(_part, s.parts))) for s in sections]
    bodies.append(("How this was made", f"<dl>{''.join(items)}</dl>"))
    contents = "".join(
        f'<li><a href="#s{i}">{escape(heading)}</a></li>' for i, (heading, _) in enumerate(bodies)
    )
    body = "\n".join(
        f'<section id="s{i}"><h2>{escape(heading)}</h2>\n{part}</section>'
        for i, (heading, part) in enumerate(bodies)
    )
    viewport = '<meta name="viewport" content="width=device-width, initial-scale=1">'
    head = f'<meta charset="utf-8">{viewport}<title>{escape(title)}</title><style>{CSS}</style>'
    first = f'<div class="answer">{"".join(map(_part, answer))}</div>\n' if answer else ""
    page = f"<h1>{escape(title)}</h1>\n{first}<nav><ol>{contents}</ol></nav>\n{body}"
    document = f'<html lang="en"><head>{head}</head>\n<body>{page}</body></html>'
    return f"<!doctype html>\n{document}\n"


def _part(part: Part) -> str:
    match part:
        case Markup(content):
            return content
        case Picture(figure, alt):
            image = base64.b64encode(to_bytes(figure, dpi=130)).decode()
            caption = escape(alt)
            image = f'<img src="data:image/png;base64,{image}" alt="{caption}">'
            return f"<figure>{image}<figcaption>{caption}</figcaption></figure>"
        case Verdict(claim, rule, outcome, evidence):
            kind = escape(outcome)
            first = f"<p><strong>{kind}</strong>: {escape(claim)}</p>"
            more = f"<p>{escape(evidence)}</p><p>Rule: {escape(rule)}</p>"
            return f'<div class="verdict {kind}">{first}{more}</div>'
        case str():
            return f"<p>{escape(part)}</p>"
        case [first, *_]:
            head = "".join(f'<th scope="col">{escape(column)}</th>' for column in first)
            lines = "".join("<tr>" + "".join(map(_td, row.values())) + "</tr>" for row in part)
            table = f"<table><thead><tr>{head}</tr></thead><tbody>{lines}</tbody></table>"
            return f'<div class="scroll" tabindex="0">{table}</div>'
    known = "paragraphs, tables with at least one row, Pictures and Verdicts"
    raise ValueError(f"A section holds {known}, not {part!r}.")


def _td(value: Any) -> str:
    """Returns a cell of a table; sentences are wrapped, numbers are not."""
    wraps = ' class="text"' if len(str(value)) > 20 else ""
    return f"<td{wraps}>{escape(str(value))}</td>"


def write(path: Path, content: str | bytes) -> None:
    """Writes the file whole or not at all, and creates the folder if need be."""
    path.parent.mkdir(parents=True, exist_ok=True)
    atomic_files.write(path, content)


def write_csv(path: Path, records: list[Record]) -> None:
    """Writes the records so that `read_csv` gives them back exactly; whole or not at all.

    Raises: ValueError, and writes nothing, if the columns differ between records or a value would
    not read back as itself.
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
    value = record[column]
    if hasattr(value, "item"):  # a scalar of NumPy or JAX
        value = value.item()
    written = value if isinstance(value, str) else repr(value)
    if repr(read_number(written)) != repr(value):
        raise ValueError(
            f"The {column} {value!r} would not read back from CSV as itself; "
            "use a number, or a text that is not one."
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
    """Returns the records of a CSV: whole numbers as int, others as float, the rest as str."""
    with path.open(encoding="utf-8", newline="") as file:
        return [
            {column: read_number(cell) for column, cell in record.items()}
            for record in csv.DictReader(file)
        ]
