"""Prints records as a table that fits the terminal, or that has no broken line in a log file."""

import sys

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from experiments.reports.stats import Record

UNLIMITED = 1000  # columns where the output is no terminal


def print_table(records: list[Record], title: str) -> None:
    """Prints a title and below it a table with a line for each record.

    If a terminal is too narrow for that, each record becomes a column, and as many of them stand
    side by side as fit. Where there is no terminal, no line is broken.
    """
    width = None if sys.stdout.isatty() else UNLIMITED
    console = Console(width=width, highlight=False, markup=False)
    # A title that is part of rich's table would be broken at the table's width.
    console.print(Text(title, style="italic"), soft_wrap=True)
    table = records_as_lines(records)
    if table_width(table) <= console.width:
        console.print(table)
        return
    while records:
        count = count_that_fit(records, console.width)
        console.print(records_as_columns(records[:count]))
        records = records[count:]


def count_that_fit(records: list[Record], width: int) -> int:
    """Returns how many records fit side by side, at least one."""
    for count in range(len(records), 1, -1):
        if table_width(records_as_columns(records[:count])) <= width:
            return count
    return 1


def records_as_lines(records: list[Record]) -> Table:
    """Returns a table with a line for each record."""
    table = Table(*records[0], box=box.SIMPLE_HEAD)
    for record in records:
        table.add_row(*map(str, record.values()))
    return table


def records_as_columns(records: list[Record]) -> Table:
    """Returns a table with a column for each record."""
    name, *others = records[0]
    table = Table(name, *(str(record[name]) for record in records), box=box.SIMPLE_HEAD)
    for other in others:
        table.add_row(other, *(str(record[other]) for record in records))
    return table


def table_width(table: Table) -> int:
    """Returns the width in columns at which no cell of the table is broken."""
    # Without a height, rich takes a dumb terminal to be 80 columns wide.
    return Console(width=10_000, height=1, markup=False).measure(table).maximum
