"""Shows what comes of a study: table, figures and verdicts, and how the records were measured."""

import dataclasses
import json
from operator import attrgetter
from pathlib import Path

from agentic_rl.config import ConfigError, check
from experiments.cli.program_names import module_of
from experiments.cli.tables import print_table
from experiments.harness.base_study import Study, as_flag, name, settings
from experiments.reports import figures, overview, report
from experiments.reports.report import Verdict
from experiments.reports.stats import Record, select
from experiments.reports.verdicts import correct_family

RESULTS = Path(__file__).parents[2] / "results"  # those that are committed, by study
NO_RULE = "None of the rules applies with these flags."


def show(study: Study, records: list[Record], folder: Path) -> None:
    """Prints the table and the verdicts, and writes them to `folder` with the figures."""
    lines, verdicts = study.lines(records), family_verdicts(study, records)
    print_table(lines, name(study))
    print("\n".join(legend(study, lines)), end="\n\n")
    for file, figure in study.figures(records).items():
        figures.save(figure, folder / file)
    for verdict in verdicts:
        print(f"{verdict.outcome}: {verdict.claim}\n  rule: {verdict.rule}\n  {verdict.evidence}")
    print("" if verdicts else NO_RULE)
    report.write(folder / "table.md", page(study, records, folder))
    print(f"table.md, figures and results.csv are in {folder}")


def page(study: Study, records: list[Record], folder: Path) -> str:
    """Returns the page table.md: claim, command, verdicts, table and legend, in Markdown."""
    lines = study.lines(records)
    verdicts = verdict_lines(study, records)
    parts = [
        f"# {name(study)}",
        study.claim,
        source(study, records, folder),
        report.markdown(verdicts) if verdicts else NO_RULE,
        report.markdown(lines),
        "\n".join(f"- {entry}" for entry in legend(study, lines)),
    ]
    return "\n\n".join(parts) + "\n"


def family_verdicts(study: Study, records: list[Record]) -> list[Verdict]:
    """Returns the study's verdicts, corrected for their number (Holm, 1979)."""
    return correct_family(study.verdicts(records))


def verdict_lines(study: Study, records: list[Record]) -> list[Record]:
    """Returns the study's verdicts as the lines of a table: claim, rule, outcome, evidence."""
    columns = ("claim", "rule", "outcome", "evidence")
    return [{c: getattr(v, c) for c in columns} for v in family_verdicts(study, records)]


def with_measured_flags(study: Study, folder: Path) -> Study:
    """Returns the study with the flags that the results in `folder` were measured with.

    Raises: ConfigError if there are no results, or cells are missing.
    """
    check(
        (folder / "results.csv").exists(),
        f"There are no results in {folder}: leave out --no-measure.",
    )
    flags = read_provenance(folder)["settings"]
    unknown = [flag for flag in flags if flag not in settings(study)]
    check(
        not unknown,
        f"{folder} was measured with {', '.join(unknown)}, which {name(study)} no longer has: "
        "check out the commit in made_by.json.",
    )
    flags = {k: tuple(v) if isinstance(v, list) else v for k, v in flags.items()}
    study = dataclasses.replace(study, **flags)
    records, cells = report.read_csv(folder / "results.csv"), study.cells()
    num_measured = sum(bool(select(records, **cell)) for cell in cells)
    check(
        num_measured == len(cells),
        f"{num_measured} of {len(cells)} cells are measured in {folder}: "
        "the same command without --no-measure goes on.",
    )
    return study


def describe_outcome(study: Study, folder: Path) -> str:
    """Returns what the rules say of the results in `folder`, and how these were measured.

    A study's docstring states question, prediction, command and cost. It need not repeat the
    outcome, which is computed here and printed by --help.
    """
    try:
        study = with_measured_flags(study, folder)
    except ConfigError as error:
        return f"No outcome yet. {error}"
    records = report.read_csv(folder / "results.csv")
    verdicts = overview.by_outcome(family_verdicts(study, records), attrgetter("outcome"))
    counts = overview.count_verdicts([{"verdict": verdict.outcome} for verdict in verdicts])
    lines = [f"  {verdict.outcome}: {verdict.claim}" for verdict in verdicts]
    return "\n".join([f"Outcome: {counts}.", *lines, f"  {source(study, records, folder)}"])


def legend(study: Study, lines: list[Record]) -> list[str]:
    """Returns the meaning of each column that the table has.

    A key of `study.legend` may name several columns, such as "before, learned".
    """
    columns = {*lines[0], "±"}
    return [
        f"{names}: {meaning}"
        for names, meaning in study.legend.items()
        if columns.intersection(names.split(", "))
    ]


def source(study: Study, records: list[Record], folder: Path) -> str:
    """Returns how the records were made: the command, its minutes, commits and versions."""
    made = read_provenance(folder)
    commits = ", ".join(sorted({_commit(by["git"] or {}) for by in made["by"]}))
    last = made["by"][-1]
    machine = f"jax {last['versions']['jax']} on {last['devices']['kind']}, {last['date'][:10]}"
    minutes, rest = divmod(int(seconds(study, records)), 60)
    took = f"{minutes}:{rest:02d} minutes"
    return f"`{command(study, made['settings'])}`: {took}, commit {commits}, {machine}."


def command(study: Study, flags: Record) -> str:
    """Returns the command that measures the study with these flags; defaults are left out."""
    default = settings(type(study)())
    words = [
        f"--{flag.replace('_', '-')} {as_flag(value)}".strip()
        for flag, value in flags.items()
        if value != default.get(flag)
    ]
    return " ".join([f"python -m {module_of(name(study))}", *words])


def _commit(git: Record) -> str:
    return str(git.get("commit"))[:12] + " with changes" * bool(git.get("dirty"))


def seconds(study: Study, records: list[Record]) -> float:
    """Returns the seconds that measuring the cells took, in all."""
    measured = [select(records, **cell) for cell in study.cells()]
    return sum(of_cell[0]["seconds"] for of_cell in measured if of_cell)


def read_provenance(folder: Path) -> Record:
    """Returns the content of made_by.json: the flags and the processes that measured.

    Raises: ConfigError if the file is damaged.
    """
    path = folder / "made_by.json"
    try:
        made = json.loads(path.read_bytes())
    except ValueError:
        made = None
    is_whole = (
        isinstance(made, dict)
        and isinstance(made.get("settings"), dict)
        and isinstance(made.get("by"), list)
    )
    check(is_whole, f"{path} is damaged; put it back from a copy, or name another --out.")
    return made
