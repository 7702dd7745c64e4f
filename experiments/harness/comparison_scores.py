"""The scores of the comparison of algorithms: its final scores and its learning curves."""

from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp

from agentic_rl.records.run_directory import RunDirectory
from agentic_rl.rollout.actors import Expert
from agentic_rl.rollout.rollout import rollout
from agentic_rl.training.programs import Programs
from agentic_rl.training.run import Run
from agentic_rl.training.train import BUDGET, Result
from experiments.cli.progress import Line
from experiments.reports.stats import Record, scores, select

HORIZONS = (1, 2, 4)  # multiples of the trained length
MODES = {"sampled": 1.0, "greedy": 0.0}  # temperature of each mode of acting


def final_scores(
    run: Run,
    task_name: str,
    name: str,
    episodes: int,
    line: Line,
    _: RunDirectory,
    outcome: Result,
) -> dict[str, list[Record]]:
    """Returns one record per seed, horizon and mode of acting, under "scores"."""
    records = []
    for horizon in HORIZONS:
        programs = Programs(run, partial(show_phase, line, horizon))
        task = run.task.longer(horizon)
        decisions = num_decisions(task)
        for mode, temperature in MODES.items():
            params = outcome.state.params
            log = programs.evaluate(params, task, episodes, temperature=temperature)
            for i in range(run.seeds):
                labels = {
                    "task": task_name,
                    "algorithm": name,
                    "seed": run.seed + i,
                    "horizon": horizon,
                    "num_turns": task.spec.num_turns,
                    "decisions": decisions,
                    "mode": mode,
                }
                measured = {
                    "success": float(log["success"][i]),
                    "per_turn": float(log["per_turn_accuracy"][i]),
                    "episode_return": float(log["return"][i]),
                }
                costs = {column: outcome.last[column][i] for column in BUDGET}
                records.append(labels | measured | costs | {"updates": run.updates})
    return {"scores": records}


def show_phase(line: Line, horizon: int, phase: str) -> None:
    """Shows on the progress line which horizon is evaluated."""
    line.phase(f"{phase.replace('evaluating', 'final evaluation')} at {horizon}x")


@lru_cache
def num_decisions(task: Any) -> float:
    """Returns the mean number of key decisions in an episode of the expert."""
    demos = jax.jit(lambda: rollout(task, Expert(), jax.random.key(0), jnp.arange(64)))()
    return float(demos.is_key.sum(-1).mean())


def learning_curve(path: Path, task_name: str, name: str) -> list[Record]:
    """Returns success on unseen problems against costs, per update and seed, from a run's log."""
    entries = [entry for entry in RunDirectory.open(path).entries() if "eval_success" in entry]
    records = []
    for entry in entries:
        for seed, success in enumerate(entry["eval_success"]):
            labels = {"task": task_name, "algorithm": name, "seed": seed, "update": entry["step"]}
            costs = {column: entry[column][seed] for column in BUDGET}
            seconds = entry["time"] - entries[0]["time"]
            records.append(labels | costs | {"seconds": seconds, "success": success})
    return records


def summarize(finished: list[Record]) -> str:
    """Returns a line with a finished algorithm's mean success at each horizon."""
    parts = []
    for horizon in HORIZONS:
        success = scores(select(finished, horizon=horizon, mode="sampled"), "success").mean()
        parts.append(f"{horizon}x {success:.3f}")
    first = finished[0]
    text = "   ".join(parts)
    return f"{first['task']:12} {first['algorithm']:11} success at the trained horizon {text}"
