"""A cell of an experiment: one run in a directory of its own, trained once, continued if it was interrupted."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from agentic_rl.config import to_json
from agentic_rl.records.run_directory import RunDirectory
from agentic_rl.training.run import Run
from agentic_rl.training.train import Result, train
from experiments.cli.progress import Line


def result(
    run: Run,
    path: Path,
    line: Line,
    should_stop: Callable[[], bool],
    score: Callable[[RunDirectory, Result], dict[str, Any]],
) -> dict[str, Any] | None:
    """Returns what `score` says of the finished run, which is kept in its directory; None if it was stopped."""
    directory = RunDirectory.create(path, to_json(run))
    if directory.result is not None:
        return directory.result
    with directory:
        if directory.result is None:  # else another process finished it just now
            outcome = train(run, directory, line, should_stop)
            if not outcome.finished:
                return None
            scores = score(directory, outcome)
            line.phase("saving")
            directory.finish(scores)
        return directory.result


def describe_saved(run: Run, directory: RunDirectory) -> str:
    """Returns what is on disk of a run that was stopped."""
    if directory.newest is not None:
        return f"update {directory.newest} of {run.updates} is saved"
    cloned = directory.warm_start.newest
    return (
        "nothing was learned yet"
        if cloned is None
        else f"update {cloned} of {run.warm_start.updates} of the warm start is saved"
    )
