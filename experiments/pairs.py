"""Questions and answers from a file, or from a generator of the reasoning-gym package."""

import json
from pathlib import Path

from agentic_rl.config import ConfigError, check
from agentic_rl.envs.dataset import Pairs

GYM = "reasoning_gym:"
INSTALL = "reasoning-gym is not installed: pip install 'agentic_rl[reasoning-gym]'."


def load(source: str) -> Pairs:
    """The pairs of `source`: the path of a file with one {"prompt": ..., "answer": ...} a line, or reasoning_gym:NAME[:SIZE].

    Raises: ConfigError with what is wrong with the file, or with the names there are.
    """
    return from_gym(*source.removeprefix(GYM).split(":")) if source.startswith(GYM) else from_file(Path(source))


def from_file(path: Path) -> Pairs:
    """The pairs of a JSON-lines file."""
    check(path.is_file(), f"There is no file {path}; --data takes a file of JSON lines, or {GYM}NAME.")
    lines = [line for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
    check(bool(lines), f'{path} is empty; write one {{"prompt": ..., "answer": ...}} a line.')
    try:
        rows = [json.loads(line) for line in lines]
        return Pairs((str(row["prompt"]), str(row["answer"])) for row in rows)
    except (json.JSONDecodeError, KeyError, TypeError) as error:
        raise ConfigError(f'{path} must hold one {{"prompt": ..., "answer": ...}} a line ({type(error).__name__}: {error}).') from None


def from_gym(name: str, size: str = "1000") -> Pairs:
    """`size` pairs of one of reasoning-gym's generators, at its default difficulty, seed 0."""
    try:
        import reasoning_gym
    except ImportError:
        raise ConfigError(INSTALL) from None
    known = sorted(reasoning_gym.factory.DATASETS)
    check(name in known, f"reasoning-gym has no generator called {name}; choose one of: {', '.join(known)}.")
    check(size.isdecimal() and int(size) > 0, f"The size behind {GYM}{name}: is a whole number above 0, not {size}.")
    rows = reasoning_gym.create_dataset(name, size=int(size), seed=0)
    return Pairs((row["question"], row["answer"]) for row in rows)
