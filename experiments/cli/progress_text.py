"""The words and numbers on a line of progress, and how they fit its width."""

from math import isnan, nan

from rich.cells import cell_len, set_cell_size

from agentic_rl.progress import Progress
from experiments.cli.part_counter import PartCounter

SEPARATOR = " | "
MAX_TITLE = 40  # columns
MIN_WAIT = 1.0  # seconds in a phase, from which on they are shown
LEAST_IMPORTANT = ("tokens", "speed", "title", "left")  # what a narrow terminal omits, in order


def fields(
    title: str, now: Progress, waited: float, age: float, counter: PartCounter | None = None
) -> dict[str, str]:
    """Returns the parts of the line in order, without those that are empty.

    Args:
      title: what is running.
      now: the newest progress.
      waited: seconds since this phase began.
      age: seconds since `now` was reported.
      counter: the parts of the command, if it has several.

    >>> progress = Progress("training", 60, 200, 150.5, 1.25, 9000, 0.42, 40)
    >>> fields("running_sum", progress, 80.0, 20.0)["left"]
    '2:10 left'
    >>> fields("", Progress("compiling the updates"), 37.2, 37.2)
    {'phase': 'compiling the updates ... 37 s'}
    """
    is_timed = not isnan(now.seconds_left)
    parts = {
        "position": counter.position if counter else "",
        "title": set_cell_size(title, min(cell_len(title), MAX_TITLE)),
        "success": describe_success(now),
        "phase": describe_phase(now, waited),
        "left": describe_time_left(now.seconds_left - age, counter),
        "speed": f"{now.steps_per_second:.3g} updates/s" if is_timed else "",
        "tokens": f"{now.tokens_per_second:,.0f} tokens/s" if is_timed else "",
    }
    return {name: text for name, text in parts.items() if text}


def describe_success(now: Progress) -> str:
    """Returns the newest success with the update at which it was measured, if there is one."""
    return "" if isnan(now.success) else f"success {decimals(now.success)} at {now.success_at}"


def describe_phase(now: Progress, waited: float) -> str:
    """Returns the phase with its count of steps, or with how long it has been going on."""
    text = f"{now.phase} {now.step}/{now.total}" if now.total else now.phase
    if not isnan(now.seconds_left):
        return text
    return f"{text} ... {int(waited)} s" if waited >= MIN_WAIT else f"{text} ..."


def describe_time_left(seconds: float, counter: PartCounter | None) -> str:
    """Returns the time until this part ends, and until all parts do, as far as both are known."""
    in_all = counter.seconds_left(seconds) if counter else nan
    this_part = [f"{clock(seconds)} left"] if seconds >= 1 else []
    all_parts = [f"{clock(in_all)} left in all"] if in_all >= 1 else []
    return ", ".join(this_part + all_parts)


def fit(parts: dict[str, str], width: int) -> str:
    """Returns the parts as a line of at most `width` columns, without the least important ones.

    >>> parts = {"title": "running_sum", "success": "success .42 at 40", "phase": "training 60/200"}
    >>> fit(parts, 60), fit(parts, 40)
    ('running_sum | success .42 at 40 | training 60/200', 'success .42 at 40 | training 60/200')
    >>> fit(parts, 20)
    'success .42 at 40 | '
    """
    for name in ("", *LEAST_IMPORTANT):
        parts = {k: text for k, text in parts.items() if k != name}
        line = SEPARATOR.join(parts.values())
        if cell_len(line) <= width:
            return line
    return set_cell_size(line, width)


def decimals(share: float) -> str:
    """Returns a share between 0 and 1 with two decimals, without the leading zero.

    >>> decimals(0.417), decimals(0.0), decimals(1.0)
    ('.42', '.00', '1.00')
    """
    return f"{share:.2f}".removeprefix("0")


def clock(seconds: float) -> str:
    """Returns minutes and seconds, and hours if there are any.

    >>> clock(75.2), clock(3675)
    ('1:15', '1:01:15')
    """
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes_of_hour = divmod(minutes, 60)
    return f"{hours}:{minutes_of_hour:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"
