"""The file config.json of a run's directory: the run's config, and what made it ("made_by")."""

import json
import os
from pathlib import Path
from textwrap import shorten
from typing import Any

from agentic_rl.config import ConfigError, check
from agentic_rl.records import atomic_files
from agentic_rl.records.disk_errors import reading
from agentic_rl.records.lock import Lock
from agentic_rl.records.log import to_json
from agentic_rl.records.provenance import collect

NAME = "config.json"


def create(directory: Path, config: dict) -> None:
    """Writes the file into a new or empty directory, unless another process has done so.

    Raises: ConfigError if the directory holds other files and no config.json; OSError.
    """
    directory.mkdir(parents=True, exist_ok=True)
    if all(_is_ours(file.name) for file in directory.iterdir()):
        with Lock(directory):
            if not (directory / NAME).exists():
                content = to_json({"config": config, "made_by": collect()}, indent=2)
                atomic_files.write(directory / NAME, content)
    check(
        (directory / NAME).exists(),
        f"{directory} is not the directory of a run, and not empty; name an empty or a new one.",
    )


def _is_ours(name: str) -> bool:
    """Returns whether a file is one that `create` itself leaves while it is at work."""
    return name == "lock" or name.startswith(f".{NAME}.")


def read(directory: Path) -> tuple[dict, dict]:
    """Returns the config and what made it ({} if that is not known).

    Raises: ConfigError if the file is missing, of another program, or damaged.
    """
    file = directory / NAME
    foreign = (
        f"{directory} is not the directory of a run, which holds a config.json; name one that is."
    )
    with reading(file):
        check(file.is_file(), foreign)
        stored = parse(file.read_bytes())
    is_foreign = isinstance(stored, dict) and not {"config", "made_by"} & set(stored)
    check(not is_foreign, foreign)
    check(
        isinstance(stored, dict) and isinstance(stored.get("config"), dict),
        f"{file} is damaged; put it back from a copy, such as that of another run with the same"
        " flags.",
    )
    made_by = stored.get("made_by")
    return stored["config"], made_by if isinstance(made_by, dict) else {}


def check_same(directory: Path, stored: dict, config: dict) -> None:
    """Checks that the stored config is this one.

    Raises: ConfigError that names the first difference.
    """
    there, here = flat(stored), flat(json.loads(to_json(config)))
    odd = [name for name in there | here if there.get(name, "absent") != here.get(name, "absent")]
    if odd:
        name = min(odd)
        old, new = (
            shorten(str(values.get(name, "absent")), 80, placeholder=" ...")
            for values in (there, here)
        )
        raise ConfigError(
            f"{directory} holds a run of another config ({name} is {old} there and {new} here);"
            " choose another directory, or that config to resume it."
        )


def replace(directory: Path, config: dict) -> None:
    """Replaces the config, and adds the present versions and devices to "resumed_by".

    A result, which belongs to the old config, becomes `earlier_result.json`.

    Raises: OSError, with nothing changed, if the disk refuses it.
    """
    stored = json.loads((directory / NAME).read_text())
    stored |= {"config": config, "resumed_by": [*stored.get("resumed_by", []), collect()]}
    result, earlier = directory / "result.json", directory / "earlier_result.json"
    if was_finished := result.exists():
        os.replace(result, earlier)
    try:
        atomic_files.write(directory / NAME, to_json(stored, indent=2))
    except OSError:
        if was_finished:
            os.replace(earlier, result)
        raise


def flat(config: dict, prefix: str = "") -> dict[str, Any]:
    """Returns the config's values by their path.

    >>> flat({"seed": 0, "task": {"num_turns": 8}})
    {'seed': 0, 'task.num_turns': 8}
    """
    values = {}
    for name, value in config.items():
        inner = flat(value, f"{prefix}{name}.") if isinstance(value, dict) else None
        values |= {prefix + name: value} if inner is None else inner
    return values


def parse(content: bytes) -> Any:
    """Returns the JSON value of a file, or None if it is damaged."""
    try:
        return json.loads(content)
    except (ValueError, RecursionError):
        return None
