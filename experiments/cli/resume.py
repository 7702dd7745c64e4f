"""A run that goes on: with other devices or intervals, which change no number beyond rounding, and with more updates, finished or not."""

import json
from math import inf

from agentic_rl.config import check, to_json
from agentic_rl.records.config_file import flat
from agentic_rl.records.run_directory import RunDirectory
from agentic_rl.training.run import MAY_CHANGE, Run, template
from experiments.cli import shell
from experiments.cli.flags import flag_name
from experiments.cli.tables import print_table
from experiments.reports.stats import Record


def check_changes(directory: RunDirectory, before: Run, after: Run) -> list[str]:
    """Returns what changes for the run in a directory if it goes on as `after`, in sentences.

    Raises: ConfigError if that would make it another run, or asks for what is already behind it.
    """
    changes = differences(before, after)
    for name in changes:
        may = ", ".join(f"--{flag_name(known)}" for known in MAY_CHANGE)
        check(
            name in MAY_CHANGE,
            f"--{flag_name(name)} cannot change while a run goes on, only {may}: leave it out, or begin a new run.",
        )
    if not changes:
        return []
    restored = directory.restore(template(before))
    step = restored[0] if restored else 0
    more = f"{directory.path} has done {step} updates: give --updates more than that."
    check("updates" not in changes or after.updates > step, more)
    begun, where = (
        (step, "") if restored else (directory.warm_start.newest or 0, " of the warm start")
    )
    sentence = f"The run goes on from update {begun}{where}, which must be a multiple of --chunk, unlike {after.chunk}."
    check(begun % after.chunk == 0, sentence)
    said = [f"--{flag_name(name)} was {old} and is {new}" for name, (old, new) in changes.items()]
    decay = after.algorithm.optimizer.decay
    if "updates" in changes and decay != "constant":
        said.append(
            f"from update {step} on the learning rate follows the {decay} decay of a run of {after.updates} updates"
        )
    return said


def differences(before: Run, after: Run) -> dict[str, tuple]:
    """Returns the fields in which two runs differ, by their paths, with both values."""
    there, here = (flat(json.loads(json.dumps(to_json(run)))) for run in (before, after))
    return {
        name: (there.get(name), here.get(name))
        for name in here | there
        if there.get(name, inf) != here.get(name, inf)
    }


def show_finished(path: str, run: Run, result: dict) -> None:
    """Prints what a finished run came to, and how to go on."""
    title, lines = (
        f"{path} is finished: {run.updates} updates",
        [line(name, x) for name, x in result.items() if is_numbers(x)],
    )
    print_table(lines, title) if lines else print(
        title
    )  # a cell of an experiment keeps records of its own
    print(f"more updates: {shell.command('train', '--resume', path, '--updates', 2 * run.updates)}")
    print(f"more about it: {shell.command('evaluate', path)}")


def is_numbers(value: object) -> bool:
    """Returns whether a value is a number, or numbers.

    >>> is_numbers(0.5), is_numbers([0.5, 1]), is_numbers([]), is_numbers([{"success": 0.5}])
    (True, True, False, False)
    """
    values = value if isinstance(value, list) else [value]
    return bool(values) and all(isinstance(x, int | float) for x in values)


def line(name: str, values: list[float] | float) -> Record:
    """Returns a metric's mean over seeds, and its range over them if they are several.

    >>> line("eval_success", [0.5, 0.75]), line("env_steps", [40960])
    ({'metric': 'eval_success', 'mean': '0.625', 'seeds': '0.500 to 0.750'}, {'metric': 'env_steps', 'mean': '40,960', 'seeds': ''})
    """
    values = values if isinstance(values, list) else [values]
    digits = 0 if all(isinstance(x, int) for x in values) else 3
    mean, low, high = (
        f"{x:,.{digits}f}" if x < 1e9 else f"{x:.2e}"
        for x in (sum(values) / len(values), min(values), max(values))
    )
    return {"metric": name, "mean": mean, "seeds": f"{low} to {high}" if len(values) > 1 else ""}
