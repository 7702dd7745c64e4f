"""One's own questions and answers as a task: from a file, or from a generator of the reasoning-gym package.

What an episode could not show as it is, is refused rather than changed.
"""

import sys
from collections import Counter

from agentic_rl import problems
from agentic_rl.config import check
from agentic_rl.envs.dataset import Dataset, Pairs
from agentic_rl.policy import layout
from experiments.own_data import characters, generators, json_lines
from experiments.own_data.characters import Rows

DEFAULT = "dataset without --data FILE or reasoning_gym:NAME: the 100 sums of two digits"


def load(source: str, unknown: str = "refuse") -> Dataset:
    """Returns the task of `source`: a file with one {"prompt": ..., "answer": ...} a line, or reasoning_gym:NAME[:SIZE].

    Args:
      unknown: what becomes of characters without a token: refuse, spell (as in URLs), or drop (the pair).
    Raises: ConfigError with what is wrong, and what to do.
    """
    name, rows = (generators if source.startswith(generators.PREFIX) else json_lines).read(source)
    rows, notes = characters.fit(rows, name, unknown)
    check_length(rows, name)
    task = Dataset(Pairs(rows.values()), name)
    train, test = splits(task, name)
    print(
        "; ".join(
            [f"{name}: {train:,} pairs to train and {test:,} to test on", *notes, *remarks(rows)]
        ),
        file=sys.stderr,
    )
    return task


def check_length(rows: Rows, name: str) -> None:
    """Nothing, if the longest question and the longest answer fit into one episode.

    Raises: ConfigError with their rows.
    """
    asked, answered = (max(rows, key=lambda number: len(rows[number][part])) for part in (0, 1))
    question, answer = len(rows[asked][0]), len(rows[answered][1])
    longest = f"the longest question has {question:,} characters (row {asked}) and the longest answer {answer:,} (row {answered})"
    most = layout.LIMIT - 3  # besides BOS, ACT and END
    is_drawn = name.startswith(generators.PREFIX)
    how = (
        "Ask for fewer rows, or another generator."
        if is_drawn
        else "Shorten them, or leave these rows out."
    )
    check(
        question + answer <= most,
        f"{name} is too long: {longest}, together {most:,} at most. {how}",
    )


def splits(task: Dataset, name: str) -> tuple[int, int]:
    """Returns how many pairs there are to train and to test on.

    Raises: ConfigError if there are none of a kind, for then what was trained on would be called unseen.
    """
    test = int(problems.is_test(task.instances()).sum())
    train = len(task.pairs) - test
    which = "a hash of each pair decides which are held out, about one in four"
    check(
        min(train, test) > 0,
        f"{name} has {train:,} pairs to train and {test:,} to test on ({which}): add pairs.",
    )
    return train, test


def remarks(rows: Rows) -> list[str]:
    """Returns what a user may not expect of these pairs."""
    lower = {(question.lower(), answer.lower()) for question, answer in rows.values()}
    several = sum(count > 1 for count in Counter(question for question, _ in lower).values())
    is_cased = any(text != text.lower() for pair in rows.values() for text in pair)
    sentence = (
        f"{several:,} questions stand there with several answers, each time another one is right"
    )
    return ["letters lose their case"] * is_cased + [sentence] * (several > 0)
