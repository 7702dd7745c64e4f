"""Continues a run: which flags may change, and what a finished run shows.

Other devices and intervals change no number beyond rounding. More updates may be asked for of a
finished run, too.
"""

import json
from math import gcd, inf

from agentic_rl.config import check, to_json
from agentic_rl.records.config_file import flat
from agentic_rl.records.run_directory import RunDirectory
from agentic_rl.training.run import MAY_CHANGE, Run, template
from experiments.cli import shell
from experiments.cli.flag_errors import flag_name
from experiments.cli.flags import take
from experiments.cli.tables import print_table
from experiments.reports.stats import Record


def check_chunk(run: Run, arguments: list[str]) -> None:
    """Checks that a new --chunk divides the warm start, which cannot change any more.

    Raises: ConfigError with a number that does.
    """
    text, _ = take(arguments, "--chunk")
    chunk = int(text) if text and text.isdecimal() else 0
    updates = run.warm_start.updates
    check(
        chunk == 0 or updates % chunk == 0,
        f"--chunk ({text}) must divide the {updates} updates of this run's warm start: "
        f"use {gcd(chunk, updates)}, or another divisor.",
    )


def check_changes(directory: RunDirectory, before: Run, after: Run) -> list[str]:
    """Returns a sentence on each change, if the run in a directory continues as `after`.

    Raises: ConfigError if that would make it another run, or asks for updates that are done.
    """
    changes = differences(before, after)
    allowed = ", ".join(f"--{flag_name(known)}" for known in MAY_CHANGE)
    for name in changes:
        check(
            name in MAY_CHANGE,
            f"--{flag_name(name)} cannot change while a run goes on, only {allowed}: "
            "leave it out, or begin a new run.",
        )
    if not changes:
        return []
    restored = directory.restore(template(before))
    step = restored[0] if restored else 0
    check(
        "updates" not in changes or after.updates > step,
        f"{directory.path} has done {step} updates: give --updates more than that.",
    )
    where = "" if restored else " of the warm start"
    start = step if restored else directory.warm_start.newest or 0
    check(
        start % after.chunk == 0,
        f"The run goes on from update {start}{where}, which must be a multiple of --chunk, "
        f"unlike {after.chunk}.",
    )
    return describe_changes(changes, step, after)


def describe_changes(changes: dict[str, tuple], step: int, after: Run) -> list[str]:
    """Returns a sentence on each change, and one on a learning rate that changes with it."""
    sentences = [
        f"--{flag_name(name)} was {old} and is {new}" for name, (old, new) in changes.items()
    ]
    decay = after.algorithm.optimizer.decay
    if "updates" in changes and decay != "constant":
        sentences.append(
            f"from update {step} on the learning rate follows the {decay} decay of a run of "
            f"{after.updates} updates"
        )
    return sentences


def differences(before: Run, after: Run) -> dict[str, tuple]:
    """Returns the old and the new value of each field in which two runs differ, by its path."""
    old, new = (flat(json.loads(json.dumps(to_json(run)))) for run in (before, after))
    return {
        name: (old.get(name), new.get(name))
        for name in new | old
        if old.get(name, inf) != new.get(name, inf)
    }


def show_finished(path: str, run: Run, result: dict) -> None:
    """Prints the result of a finished run, and how to continue it."""
    title = f"{path} is finished: {run.updates} updates"
    lines = [summarize(name, value) for name, value in result.items() if is_numeric(value)]
    if lines:
        print_table(lines, title)
    else:  # a cell of a study keeps records of its own
        print(title)
    longer = shell.command("train", "--resume", path, "--updates", 2 * run.updates)
    print(f"more updates: {longer}")
    print(f"more about it: {shell.command('evaluate', path)}")


def is_numeric(value: object) -> bool:
    """Returns whether a value is a number or a list of numbers.

    >>> is_numeric(0.5), is_numeric([0.5, 1]), is_numeric([]), is_numeric([{"success": 0.5}])
    (True, True, False, False)
    """
    values = value if isinstance(value, list) else [value]
    return bool(values) and all(isinstance(x, int | float) for x in values)


def summarize(name: str, values: list[float] | float) -> Record:
    """Returns a metric's mean over seeds, and its range if there are several.

    >>> summarize("eval_success", [0.5, 0.75])
    {'metric': 'eval_success', 'mean': '0.625', 'seeds': '0.500 to 0.750'}
    >>> summarize("env_steps", [40960])
    {'metric': 'env_steps', 'mean': '40,960', 'seeds': ''}
    """
    values = values if isinstance(values, list) else [values]
    digits = 0 if all(isinstance(x, int) for x in values) else 3

    def write(x: float) -> str:
        return f"{x:,.{digits}f}" if x < 1e9 else f"{x:.2e}"

    mean = write(sum(values) / len(values))
    spread = f"{write(min(values))} to {write(max(values))}" if len(values) > 1 else ""
    return {"metric": name, "mean": mean, "seeds": spread}
