"""Tables keep every number, however narrow the terminal."""

import re
import sys

import pytest

from experiments.cli import console

RECORDS = [
    {"run": f"a-run-with-a-long-name-{i}", "task": "running_sum(num_turns=16)"}
    | {f"column {j}": f"0.{i}{j}5 [0.{i}{j}1, 0.{i}{j}9]" for j in range(9)}
    for i in range(4)
]


@pytest.mark.parametrize("columns", [60, 80, 120, 300])
def test_a_table_fits_its_terminal_without_cutting_a_cell(columns, monkeypatch, capsys):
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True, raising=False)
    monkeypatch.setenv("COLUMNS", str(columns))
    console.show(RECORDS, "a title")
    out = re.sub(r"\x1b\[\d*m", "", capsys.readouterr().out)
    assert all(len(line) <= columns for line in out.splitlines()) and out.startswith("a title\n")
    assert all(str(value) in out for record in RECORDS for value in record.values())


def test_a_title_is_not_broken_where_its_table_is_narrow(capsys):
    console.show([{"a": 1}], "a title that is far longer than the table below it")
    assert capsys.readouterr().out.startswith("a title that is far longer than the table below it\n")
