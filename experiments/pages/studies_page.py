"""One page on all studies: results/index.html with everything, results/README.md with verdicts."""

import inspect
from operator import attrgetter
from pathlib import Path
from typing import Any

from experiments.harness import outcome, study
from experiments.reports import overview, report
from experiments.reports.report import Part, Picture, Section, Verdict
from experiments.reports.stats import Record, distinct, select

TITLE = "What supervised learning gives an agent, and what credit assignment adds"
COUNTS = "How many claims of each study are supported, falsified and inconclusive."


def write(done: dict[str, study.Study], folder: Path) -> None:
    """Writes index.html and README.md on the studies that have results in `folder`."""
    measured = {name: outcome.with_measured_flags(one, folder / name) for name, one in done.items()}
    records = {name: report.read_csv(folder / name / "results.csv") for name in done}
    sources, sections, lines, seconds = {}, [], [], 0.0
    for name, one in measured.items():
        own = records[name]
        sources[name] = outcome.source(one, own, folder / name)
        sections.append(section(one, own, sources[name]))
        lines += verdict_lines(name, one, own)
        seconds += outcome.seconds(one, own)
    summary = summarize(lines, len(measured), seconds)
    answer = [
        f"{summary} {overview.summarize_verdicts(lines)}",
        Picture(overview.figure(lines), COUNTS),
    ]
    sections = [verdicts_section(lines, list(measured)), *sections]
    page = report.html(TITLE, provenance(sources, records), sections, answer)
    report.write(folder / "index.html", page)
    report.write(folder / "README.md", readme(answer[0], lines))
    print(f"index.html and README.md are in {folder}")


def verdicts_section(lines: list[Record], names: list[str]) -> Section:
    """Returns the section of all verdicts; their evidence is in the studies' own sections."""
    without_evidence = [{k: x for k, x in line.items() if k != "evidence"} for line in lines]
    links = {name: f"s{i}" for i, name in enumerate(names, 1)}  # section 0 is this one
    return Section(
        "Verdicts", [overview.DEFINITIONS, overview.verdict_list(without_evidence, links)]
    )


def verdict_lines(name: str, one: study.Study, records: list[Record]) -> list[Record]:
    """Returns the study's verdicts as lines of the overview."""
    return [
        {"study": name, "verdict": v.outcome, "claim": v.claim, "evidence": v.evidence}
        for v in sorted_verdicts(one, records)
    ]


def sorted_verdicts(one: study.Study, records: list[Record]) -> list[Verdict]:
    """Returns the study's verdicts as a family, those that are decided first."""
    return overview.by_outcome(outcome.family_verdicts(one, records), attrgetter("outcome"))


def readme(summary: str, lines: list[Record]) -> str:
    """Returns the verdicts as Markdown: counts per study, then all, those decided first."""
    counts = [
        {"study": name} | overview.count(select(lines, study=name))
        for name in distinct(lines, "study")
    ]
    parts = [f"# {TITLE}", summary, overview.DEFINITIONS, report.markdown(counts)]
    for kind, number in overview.count(lines).items():
        if not number:
            continue
        own = select(lines, verdict=kind)
        table = [{k: x for k, x in line.items() if k != "verdict"} for line in own]
        parts += [f"## {kind.capitalize()} ({number})", report.markdown(table)]
    return "\n\n".join(parts) + "\n"


def summarize(lines: list[Record], num_studies: int, seconds: float) -> str:
    """Returns how many verdicts there are of each kind, and how long they took to measure.

    >>> verdicts = [{"verdict": "supported"}, {"verdict": "falsified"}, {"verdict": "supported"}]
    >>> summarize(verdicts, 2, 5400)
    '2 studies, measured in 1.5 hours; of 3 claims 2 are supported, 1 falsified and 0 inconclusive.'
    """
    hours = f"{seconds / 3600:.1f} hours"
    return f"{num_studies} studies, measured in {hours}; {overview.count_verdicts(lines)}."


def section(one: study.Study, records: list[Record], source: str) -> Section:
    """Returns a study's question, claim, verdicts, figures, table and source."""
    about, lines = " ".join(inspect.getdoc(type(one)).split()), one.lines(records)
    parts: list[Part] = [about, one.claim, *sorted_verdicts(one, records)]
    for name, figure in one.figures(records).items():
        parts.append(Picture(figure, f"{about} ({name.replace('_', ' ')})"))
    parts += [lines, ". ".join(outcome.legend(one, lines)), source]
    return Section(study.name(one).replace("_", " "), parts)


def provenance(sources: dict[str, str], records: dict[str, list[Record]]) -> dict[str, Any]:
    """Returns what `report.html` asks for; the studies' own provenance is in their sections."""
    seeds = {name: len({r.get("seed") for r in own}) for name, own in records.items()}
    return {
        "command": "python -m experiments.reproduce",
        "commit": "in each section",
        "versions": "in each section",
        "seeds": ", ".join(f"{name}: {count}" for name, count in seeds.items()),
        "budget": " ".join(sources.values()),
    }
