"""The names of tasks and of parts of an algorithm in tables and figures."""

import dataclasses
from typing import Any

from agentic_rl.config import snake_case
from agentic_rl.types import parts
from experiments.reports.display_names import words


def task_name(task: Any) -> str:
    """Returns the task's title, or its name with the knobs that are not at their default.

    The name of a mixture joins those of its tasks.

    >>> from agentic_rl.envs.running_sum import RunningSum
    >>> task_name(RunningSum(num_turns=16))
    'running_sum(num_turns=16)'
    """
    if isinstance(task, dict):
        return " + ".join(task_name(part) for part in parts(task).values())
    if hasattr(task, "title"):
        return task.title
    knobs = []
    for field in dataclasses.fields(task):
        value = getattr(task, field.name)
        if value != field.default:
            knobs.append(f"{field.name}={value}")
    name = snake_case(type(task).__name__)
    return f"{name}({', '.join(knobs)})" if knobs else name


def part_name(part: Any) -> str:
    """Returns what a reader calls a part of an algorithm, such as its credit.

    >>> from agentic_rl.credit.group import GroupRelative
    >>> part_name(GroupRelative())
    'GRPO'
    """
    return words(snake_case(type(part).__name__))
