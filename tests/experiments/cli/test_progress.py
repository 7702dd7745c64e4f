"""The line of progress fits its terminal and names what is waited for.

In a log it has no control characters.
"""

import io
import os
import pty
import re
import time

import pytest
from rich.cells import cell_len

from agentic_rl.progress import Pace, Progress, Reporter
from experiments.cli import progress
from experiments.cli.part_counter import OUTER_POSITION, PartCounter
from experiments.cli.progress import Line
from experiments.cli.progress_text import fields, fit

FULL = Progress("training", 60, 200, 150.0, 1.234, 45678.0, 0.417, 40, False)


def test_a_line_fits_and_keeps_success_and_phase():
    parts = fields("running_sum(num_turns=16) 数字", FULL, 5.0, 1.0, PartCounter("cell", 9, 3))
    for width in range(20, 200):
        shown = fit(parts, width)
        assert cell_len(shown) <= width
        assert width < 60 or "success .42 at 40" in shown and "training 60/200" in shown


def test_the_speed_goes_first_and_the_success_never():
    parts = fields("running_sum", FULL, 5.0, 1.0)
    seen = [
        set(re.findall("tokens|updates/s|running_sum|left|success", fit(parts, w)))
        for w in range(120, 35, -1)
    ]
    assert seen[0] == {"tokens", "updates/s", "running_sum", "left", "success"}
    order = [gone for one, other in zip(seen, seen[1:]) for gone in one - other]
    assert order == ["tokens", "updates/s", "running_sum", "left"]


def test_without_a_measured_chunk_there_is_no_time_left():
    assert "left" not in " | ".join(fields("", Progress("training", 0, 200), 12.0, 12.0).values())
    assert fields("", Progress("compiling the updates"), 37.4, 37.4) == {
        "phase": "compiling the updates ... 37 s"
    }


def test_the_time_left_counts_down_between_two_chunks():
    assert [fields("", FULL, 0.0, since)["left"] for since in (0.0, 30.0)] == [
        "2:30 left",
        "2:00 left",
    ]
    assert "left" not in fields("", FULL, 0.0, 151.0)


def test_a_log_has_plain_lines_at_each_phase_and_tenth_and_no_short_phase(monkeypatch):
    out = io.StringIO()
    monkeypatch.setattr(progress, "SHORT", 0.05)
    monkeypatch.setattr(progress, "TICK", 0.01)
    with Line("task", stream=out) as line:
        line(Progress("preparing"))
        line(Progress("compiling the updates"))
        time.sleep(0.2)
        for step in range(0, 201):
            line(Progress("training", step, 200, 1.0, 1.0, 1.0, 0.5, 0))
    lines = out.getvalue().splitlines()
    assert not re.search(r"[\x00-\x09\x0b-\x1f]", out.getvalue())
    assert all(re.match(r"\d\d:\d\d:\d\d task \| ", each) for each in lines)
    assert (
        "preparing" not in out.getvalue()
        and sum("compiling the updates ..." in each for each in lines) == 1
    )
    assert [
        int(each.split("training ")[1].split("/")[0]) for each in lines if "training" in each
    ] == list(range(0, 201, 20))


def test_a_sentence_stands_on_a_line_of_its_own():
    out = io.StringIO()
    with Line("task", stream=out) as line:
        line(Progress("training", 1, 2, note="Nothing is learned."))
        progress.say("It goes on.")
    assert out.getvalue() == "note: Nothing is learned.\nIt goes on.\n"


@pytest.fixture
def terminal(monkeypatch):
    """Yields a terminal's two ends: the first reads what is written to the second."""
    monkeypatch.setenv("TERM", "xterm")
    ours, theirs = pty.openpty()
    with os.fdopen(theirs, "w") as stream:
        yield ours, stream
    os.close(ours)


def resize(stream, columns):
    import fcntl
    import struct
    import termios

    fcntl.ioctl(stream.fileno(), termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))


def test_on_a_terminal_each_drawing_fits_the_width_of_that_moment(terminal):
    ours, stream = terminal
    with Line("running_sum", stream=stream) as line:
        for columns in range(120, 45, -1):
            resize(stream, columns)
            line(FULL)
            _, erased, drawn = os.read(ours, 10_000).decode().rpartition("\r\x1b[K")
            assert (
                erased
                and len(drawn) < columns
                and "success .42 at 40" in drawn
                and "\n" not in drawn
            )


def test_a_phase_that_takes_long_ticks(terminal, monkeypatch):
    ours, stream = terminal
    monkeypatch.setattr(progress, "TICK", 0.05)
    resize(stream, 80)
    with Line("running_sum", stream=stream) as line:
        line(Progress("compiling the updates"))
        time.sleep(2.3)
    assert [f"{s} s" in os.read(ours, 100_000).decode() for s in (1,)] == [True]


def test_where_a_command_is_and_how_long_all_of_it_takes(monkeypatch):
    now = [0.0]
    monkeypatch.setattr("experiments.cli.part_counter.time.monotonic", lambda: now[0])
    counter = PartCounter("cell", 4)
    counter.begin()
    now[0] = 10.0
    assert counter.position == "cell 1 of 4" and counter.seconds_left(10.0) == 10 + 20 * 3
    now[0] = 30.0
    counter.begin()
    now[0] = 40.0
    assert counter.seconds_left(5.0) == 5 + 30 * 2 and counter.seconds_left() == 20 + 30 * 2
    now[0] = 80.0  # the second cell takes longer than the first
    assert counter.seconds_left() == 30 * 2
    monkeypatch.setenv(OUTER_POSITION, "study 3 of 25")
    assert counter.position == "study 3 of 25, cell 2 of 4"
    counter.end()
    counter.begin()
    now[0] = 80.5  # the third was there before
    counter.begin()
    assert counter.durations == [30.0, 50.0] and counter.seconds_left() == 40.0


def test_the_time_left_counts_the_evaluations_to_come(monkeypatch):
    now = [0.0]
    monkeypatch.setattr("agentic_rl.progress.time.monotonic", lambda: now[0])
    pace = Pace(50, 20, 7.0)  # evaluated at 20, 40 and 50
    now[0] = 10.0
    assert pace.chunk(10, 10, 500) == {
        "seconds_left": 40 + 3 * 7.0,
        "steps_per_second": 1.0,
        "tokens_per_second": 50.0,
    }
    now[0] = 34.0  # 20 updates have taken 10 + 20 seconds
    assert pace.chunk(20, 10, 500, evaluation=4.0)["seconds_left"] == 30 * 1.5 + 2 * 4.0
    assert pace.chunk(50, 30, 1500)["seconds_left"] == 0.0


def test_what_is_known_stays_from_phase_to_phase():
    told = []
    report = Reporter(told.append)
    report.evaluated([0.25, 0.75], 40)
    report.saved(True)
    report.phase("compiling the updates")
    report.phase("training", 200, 40)
    assert [(p.success, p.success_at, p.loses_nothing) for p in told] == [
        (0.5, 40, True),
        (0.5, 40, False),
    ]


def test_where_no_run_is_shown_nothing_is_lost():
    assert progress.loses_nothing()
    with Line("a run") as line:
        assert progress.loses_nothing()
        line(Progress("training", 10, 20, saved=False))
        assert not progress.loses_nothing()
