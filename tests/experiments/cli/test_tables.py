"""Tables keep every number, however narrow the terminal."""

import re
import sys

import pytest

from experiments.cli.tables import print_table

RECORDS = [
    {"run": f"a-run-with-a-long-name-{i}", "task": "running_sum(num_turns=16)"}
    | {f"column {j}": f"0.{i}{j}5 [0.{i}{j}1, 0.{i}{j}9]" for j in range(9)}
    for i in range(4)
]


@pytest.mark.parametrize(
    "columns, term", [(60, "xterm"), (80, "xterm"), (120, "xterm"), (300, "xterm"), (80, "dumb")]
)
def test_a_table_fits_its_terminal_without_cutting_a_cell(columns, term, monkeypatch, capsys):
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True, raising=False)
    monkeypatch.setenv("COLUMNS", str(columns))
    monkeypatch.setenv("TERM", term)
    print_table(RECORDS, "a title")
    out = re.sub(r"\x1b\[\d*m", "", capsys.readouterr().out)
    assert all(len(line) <= columns for line in out.splitlines()) and out.startswith("a title\n")
    assert all(str(value) in out for record in RECORDS for value in record.values())
    assert (
        out.count("column 0") == {60: 4, 80: 2, 120: 2, 300: 1}[columns]
    )  # as many records side by side as fit


def test_without_a_terminal_no_line_is_broken(monkeypatch, capsys):
    monkeypatch.setenv("COLUMNS", "60")
    print_table(RECORDS, "a title")
    lines = capsys.readouterr().out.splitlines()
    assert all(
        any(all(str(value) in line for value in record.values()) for line in lines)
        for record in RECORDS
    )


@pytest.mark.parametrize("is_terminal", [False, True])
def test_a_title_is_not_broken_where_its_table_is_narrow(is_terminal, monkeypatch, capsys):
    monkeypatch.setattr(sys.stdout, "isatty", lambda: is_terminal, raising=False)
    monkeypatch.setenv("COLUMNS", "30")
    print_table([{"a": 1}], "a title that is far longer than the table below it")
    assert "a title that is far longer than the table below it" in capsys.readouterr().out


def test_words_in_brackets_are_no_markup(capsys):
    print_table([{"run [red]": "pairs[train].jsonl", "x": "[/b]"}], "a title")
    out = capsys.readouterr().out
    assert all(words in out for words in ("run [red]", "pairs[train].jsonl", "[/b]"))
