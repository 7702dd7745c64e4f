"""A process that draws some rows of one of reasoning-gym's generators: `generator_rows.py NAME SIZE FIRST STEP`.

It writes a JSON line with the names of all generators, then one for each row: its number, and
question and answer if they are texts, else null; or what went wrong. Each row is drawn with the
same seeds, whoever draws it: one generator uses Python's own random numbers, others the order of
sets (hence PYTHONHASHSEED, which `generators.py` sets).
"""

import contextlib
import json
import os
import random
import sys


def messages(name: str, size: int, first: int, step: int):
    """Yields every `step`-th row from `first` on, or what there is to say instead."""
    import reasoning_gym

    known = reasoning_gym.factory.DATASETS
    yield {"known": sorted(known)}
    if name not in known:
        return
    dataset = reasoning_gym.create_dataset(name, size=size, seed=0)
    for number in range(first, size, step):
        random.seed(number)
        row = dataset[number]
        yield {"row": number} | {
            key: row[key] if isinstance(row[key], str) else None for key in ("question", "answer")
        }


def main() -> None:
    name, *numbers = sys.argv[1:]
    out = sys.stdout
    with (
        open(os.devnull, "w") as nowhere,
        contextlib.redirect_stdout(nowhere),
    ):  # some generators print
        try:
            for message in messages(name, *map(int, numbers)):
                print(json.dumps(message), file=out, flush=True)
        except Exception as error:
            print(json.dumps({"error": f"{type(error).__name__}: {error}"}), file=out, flush=True)


if __name__ == "__main__":
    main()
