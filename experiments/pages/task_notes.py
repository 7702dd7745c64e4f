"""Notes on a task, from its own docstrings: what it isolates, an episode, its rules and knobs."""

import dataclasses
import doctest
import inspect
import re
from types import ModuleType

from experiments.reports import report
from experiments.reports.stats import Record


def note(name: str, cls: type) -> str:
    """Returns the section on a task: what it isolates, an episode, its rules and its knobs."""
    module = inspect.getmodule(cls)
    about = module.__doc__.partition(">>>")[0].strip()
    rules = inspect.getdoc(cls).partition(">>>")[0].strip()
    spec = cls().spec
    turns = f"{spec.num_turns} turn{'s' * (spec.num_turns > 1)}"
    tokens = (
        f"{spec.context_length} tokens: {spec.prompt_length} of prompt, then {turns} of "
        f"{spec.observation_length} observed and up to {spec.action_length} written."
    )
    knobs = report.markdown(fields(cls)) if dataclasses.fields(cls) else ""
    examples = f"```\n{episodes(module, cls)}```"
    parts = (f"## {name}", about, examples, rules, tokens, knobs)
    return "\n\n".join(parts) + "\n"


def episodes(module: ModuleType, cls: type) -> str:
    """Returns the task's literal episodes, from the docstrings of its module and its class."""
    examples = []
    for text in (module.__doc__, cls.__doc__):
        examples += doctest.DocTestParser().get_examples(text)
    return "\n".join(e.want for e in examples if e.want and f"{cls.__name__}(" in e.source)


def fields(cls: type) -> list[Record]:
    """Returns a task's knobs: name, default, and the comment above the field or after it."""
    source, knobs = inspect.getsource(cls), []
    for field in dataclasses.fields(cls):
        default = field.default
        if isinstance(default, tuple):
            default = f"{len(default)} pairs"
        comment = comment_on(field.name, source)
        knobs.append({"knob": f"`{field.name}`", "default": default, "": comment})
    return knobs


def comment_on(field: str, source: str) -> str:
    """Returns the comment above a field or after it, from the source of its class.

    >>> comment_on("size", "class A:\\n    # edge of\\n    # the map\\n    size: int = 4")
    'edge of the map'
    """
    own = re.search(
        rf"^((?:    # .*\n)*)    {field}: ((?:.*\n(?!    \S|\n))*.*)", source, re.MULTILINE
    )
    if not own:
        return ""
    above, code = own.groups()
    return " ".join(re.findall(r"# (.*)", above) or re.findall(r"  # (.*)", code)[:1])
