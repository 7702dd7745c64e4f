"""The table of the comparison: success, accuracy and costs of each algorithm."""

from experiments.reports.stats import Record, caution, distinct, estimate, scores, select

COLUMNS = {  # title: column, horizon, format
    "success 1x": ("success", 1, ".2f"),
    "2x": ("success", 2, ".2f"),
    "4x": ("success", 4, ".2f"),
    "per turn": ("per_turn", 1, ".3f"),
    "expert labels": ("expert_labels", 1, ",.0f"),
    "env steps": ("env_steps", 1, ",.0f"),
}


def table(results: list[Record], mode: str = "sampled") -> list[Record]:
    """Returns a line per algorithm: interquartile means with 95% stratified bootstrap intervals.

    Raises: ValueError if an algorithm lacks a task or a seed at some horizon, or has one twice.
    """
    return [
        _summarize(name, select(results, algorithm=name, mode=mode))
        for name in distinct(results, "algorithm")
    ]


def _summarize(name: str, results: list[Record]) -> Record:
    line = {"algorithm": name}
    for title, (column, horizon, form) in COLUMNS.items():
        value, low, high = estimate(scores(select(results, horizon=horizon), column))
        line[title] = f"{value:{form}}"
        if not (low == high and form.startswith(",")):  # a count that all seeds share
            line[title] += f" [{low:{form}}, {high:{form}}]"
    return line


def note(results: list[Record]) -> str:
    """Returns what the intervals of `table` are, and how far to trust them."""
    seeds, tasks = len(distinct(results, "seed")), len(distinct(results, "task"))
    sample = f"{seeds} seeds and {tasks} task{'s' * (tasks > 1)}"
    means = f"Interquartile mean over {sample} [95% stratified bootstrap interval]."
    return f"{means} {caution(seeds)}".strip()
