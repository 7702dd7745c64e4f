"""Turns what is wrong with a command line into one sentence that names the flag."""

import dataclasses
import itertools
import re
from difflib import get_close_matches
from types import ModuleType
from typing import Any

from agentic_rl.config import named
from experiments.cli import foreign_flags

# What a value must be, by Python's complaint about it.
EXPECTED = {
    r"invalid literal for int\(\) with base 10": "a whole number",
    "could not convert string to float": "a number",
}


def read_box(box: str) -> tuple[str, str]:
    """Returns the path of the config and the sentence in the first part of tyro's error box.

    The path is "" if the sentence is about a flag. Below the box's title, parts are separated by
    rules, which are drawn as the terminal's encoding allows.
    """

    def has_words(line: str) -> bool:
        return bool(re.search(r"\w", line))

    lines = [line.strip("│ ") for line in box.splitlines()[1:]]
    below_rule = itertools.dropwhile(lambda line: not has_words(line), lines)
    first_part = " ".join(itertools.takewhile(has_words, below_rule))
    pattern = r"(?:Error parsing (?:(?!-)(\S+): )?)?(.*?)\.?"
    path, sentence = re.fullmatch(pattern, first_part).groups("")
    for complaint, expected in EXPECTED.items():
        replacement = rf"\1 must be {expected}, not \2"
        sentence = re.sub(rf"^(\S+): {complaint}: (.*)$", replacement, sentence)
    return path, f"{sentence}."


def write_as_flag(path: str, sentence: str, default: Any) -> str:
    """Returns a sentence whose first word, if it is a field of a config, is written as its flag.

    Args:
      path: where in `default` the config is. It may begin with words that no flag has.
      sentence: what is wrong, such as "modulus must be 2 to 16, not 99."
      default: the command.
    """
    word, _, rest = sentence.partition(" ")
    steps = [*path.split("."), word]
    known = flag_names(default)
    for i in range(len(steps)):
        flag = flag_name(".".join(steps[i:]))
        if flag in known:
            return f"--{flag} {rest}"
    return sentence


def explain_unknown(flag: str, default: Any, parts: dict[str, ModuleType]) -> str:
    """Returns a sentence on a flag that the command has not, with the flag that may be meant.

    Args:
      flag: as the user typed it.
      default: the command.
      parts: the packages of the algorithm's parts, by the flag that chooses from them.
    """
    known = flag_names(default)
    near = get_close_matches(flag.split("=")[0], [f"--{name}" for name in known], 1)
    hint = foreign_flags.answer(flag, known) or name_owners(flag, parts)
    if hint:
        return f"There is no flag {flag} here; {hint}."
    if near:
        return f"There is no flag {flag} here (did you mean {near[0]}?)."
    return f"There is no flag {flag} here; --help lists all."


def name_owners(flag: str, parts: dict[str, ModuleType]) -> str:
    """Returns a clause on the parts of an algorithm that have such a flag; "" if none has."""
    name = flag.lstrip("-").split("=")[0].rsplit(".", 1)[-1].replace("-", "_").rstrip("_")
    owners = []
    for part, package in parts.items():
        for owner, cls in named(package).items():
            if name in [field.name.rstrip("_") for field in dataclasses.fields(cls)]:
                owners.append(f"--{part} {owner}")
    return f"{' and '.join(owners)} would have one" if owners else ""


def flag_names(config: Any, prefix: str = "") -> list[str]:
    """Returns the flags of a config, or of a mixture of tasks, and of all configs in it."""
    is_mixture = isinstance(config, dict)
    fields = list(config) if is_mixture else [f.name for f in dataclasses.fields(config)]
    flags = []
    for field in fields:
        value = config[field] if is_mixture else getattr(config, field)
        path = flag_name(f"{prefix}{field}")
        if dataclasses.is_dataclass(value) or isinstance(value, dict):
            flags += flag_names(value, "" if field == "run" else f"{path}.")
        else:
            flags.append(path)
    return flags


def flag_name(path: str) -> str:
    """Returns the flag that tyro makes of a field's path.

    >>> flag_name("credit.turn_discount"), flag_name("credit.lambda_")
    ('credit.turn-discount', 'credit.lambda_')
    """
    return re.sub(r"_(?=\w)", "-", path)
