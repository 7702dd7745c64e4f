"""The one loop that drives the learner: chunks of updates, until they are done or it is stopped."""

from collections.abc import Callable, Iterable
from typing import Any

from agentic_rl.training import learner

Log = dict[str, Any]  # {metric: [S, chunk]}
RunChunk = Callable[[learner.State], tuple[learner.State, Log]]


def run_chunks(
    run_chunk: RunChunk,
    state: learner.State,
    steps: Iterable[int],
    stop_after: Callable[[int, learner.State, Log], bool] = lambda step, state, log: False,
) -> learner.State:
    """Returns the state after the last chunk, or after the first that `stop_after` says is enough.

    Args:
      run_chunk: runs a chunk of updates on all devices.
      steps: how many updates are done after each chunk.
      stop_after: gets such a step, the state and the log of its chunk; it may keep or report them.
    """
    for step in steps:
        state, log = run_chunk(state)
        if stop_after(step, state, log):
            break
    return state
