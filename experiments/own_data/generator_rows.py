"""Draws some rows of a reasoning-gym generator, in a process of its own.

Usage: `generator_rows.py NAME SIZE FIRST STEP`. It writes a JSON line with the names of all
generators. Then it writes a line for each row with its number, question and answer; a question or
an answer that is no text is null. If a row cannot be drawn, the last line says why.

Each row is drawn with the same seeds, whichever process draws it. One generator uses Python's own
random numbers. Others depend on the order of sets, and so on PYTHONHASHSEED, which `generators.py`
sets.
"""

import contextlib
import json
import os
import random
import sys
from collections.abc import Iterator


def messages(name: str, size: int, first: int, step: int) -> Iterator[dict]:
    """Yields the names of all generators, then every `step`-th row from `first` on."""
    import reasoning_gym

    known = reasoning_gym.factory.DATASETS
    yield {"known": sorted(known)}
    if name not in known:
        return
    dataset = reasoning_gym.create_dataset(name, size=size, seed=0)
    for number in range(first, size, step):
        random.seed(number)
        row = dataset[number]
        message = {"row": number}
        for key in ("question", "answer"):
            message[key] = row[key] if isinstance(row[key], str) else None
        yield message


def main() -> None:
    name, *numbers = sys.argv[1:]
    out = sys.stdout
    with open(os.devnull, "w") as nowhere, contextlib.redirect_stdout(nowhere):  # some print
        try:
            for message in messages(name, *map(int, numbers)):
                print(json.dumps(message), file=out, flush=True)
        except Exception as error:
            print(json.dumps({"error": f"{type(error).__name__}: {error}"}), file=out, flush=True)


if __name__ == "__main__":
    main()
