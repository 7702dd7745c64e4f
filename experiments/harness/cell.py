"""A cell that is one training run, in a directory of its own: an interrupted run is continued."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from agentic_rl.config import to_json
from agentic_rl.records.run_directory import RunDirectory
from agentic_rl.training.run import Run
from agentic_rl.training.train import Result, train
from experiments.cli.progress import Line


def train_and_score(
    run: Run,
    path: Path,
    line: Line,
    should_stop: Callable[[], bool],
    score: Callable[[RunDirectory, Result], dict[str, Any]],
) -> dict[str, Any] | None:
    """Trains the run, and returns its scores, or None if it was stopped before its end.

    The scores are kept in the run's directory at `path`; if they are there, nothing is trained.

    Args:
      line: the line of progress in the terminal.
      should_stop: asked after each chunk of updates.
      score: computes the scores of the finished run.
    """
    directory = RunDirectory.create(path, to_json(run))
    if directory.result is not None:
        return directory.result
    with directory:
        if directory.result is None:  # no other process has finished it meanwhile
            result = train(run, directory, line, should_stop)
            if not result.finished:
                return None
            scores = score(directory, result)
            line.phase("saving")
            directory.finish(scores)
        return directory.result


def describe_saved(run: Run, directory: RunDirectory) -> str:
    """Returns in words which update of a stopped run is saved."""
    if directory.newest is not None:
        return f"update {directory.newest} of {run.updates} is saved"
    cloned = directory.warm_start.newest
    if cloned is None:
        return "nothing was learned yet"
    return f"update {cloned} of {run.warm_start.updates} of the warm start is saved"
