"""Makes a task of a user's questions and answers, from a file or from a reasoning-gym generator.

What an episode cannot show unchanged is refused, not changed.
"""

import sys
from collections import Counter

from agentic_rl import problems
from agentic_rl.config import check
from agentic_rl.envs.dataset import SUMS, Dataset, Pairs
from agentic_rl.policy import layout
from experiments.own_data import characters, generators, json_lines
from experiments.own_data.characters import Rows

# What a user reads who names the task `dataset` without --data.
DEFAULT_NOTE = (
    f"dataset: its own {len(SUMS)} sums of two digits; "
    "--data FILE or --data reasoning_gym:NAME brings other questions"
)
MAX_LENGTH = layout.LIMIT - 3  # characters of question and answer, beside BOS, ACT and END


def load(source: str, unknown: str = "refuse") -> Dataset:
    """Returns a task with the questions and answers of `source`, and prints how many there are.

    Args:
      source: a file with one {"prompt": ..., "answer": ...} a line, or reasoning_gym:NAME[:SIZE].
      unknown: what to do with characters that have no token: "refuse" them, "spell" them as in
        URLs, or "drop" the pairs that have them.
    Raises: ConfigError with what is wrong, and what to do.
    """
    name, rows = (generators if is_generator(source) else json_lines).read(source)
    rows, notes = characters.fit(rows, name, unknown)
    check_length(rows, name)
    task = Dataset(Pairs(rows.values()), name)
    train_count, test_count = split_sizes(task, name)
    sizes = f"{name}: {train_count:,} pairs to train and {test_count:,} to test on"
    print("; ".join([sizes, *notes, *remarks(rows)]), file=sys.stderr)
    return task


def is_generator(source: str) -> bool:
    """Returns whether the data are from a generator, not from a file."""
    return source.startswith(generators.PREFIX)


def check_length(rows: Rows, name: str) -> None:
    """Checks that the longest question and the longest answer fit into one episode.

    Raises: ConfigError with their rows.
    """
    question_row = max(rows, key=lambda number: len(rows[number][0]))
    answer_row = max(rows, key=lambda number: len(rows[number][1]))
    question, answer = len(rows[question_row][0]), len(rows[answer_row][1])
    advice = "Shorten them, or leave these rows out."
    if is_generator(name):
        advice = "Ask for fewer rows, or another generator."
    check(
        question + answer <= MAX_LENGTH,
        f"{name} is too long: the longest question has {question:,} characters (row "
        f"{question_row}) and the longest answer {answer:,} (row {answer_row}), together "
        f"{MAX_LENGTH:,} at most. {advice}",
    )


def split_sizes(task: Dataset, name: str) -> tuple[int, int]:
    """Returns the number of pairs to train on, and of pairs to test on.

    Raises: ConfigError if one is 0, because success would then be measured on trained pairs.
    """
    test_count = int(problems.is_test(task.instances()).sum())
    train_count = len(task.pairs) - test_count
    check(
        min(train_count, test_count) > 0,
        f"{name} has {train_count:,} pairs to train and {test_count:,} to test on (a hash of each "
        "pair decides which are held out, about one in four): add pairs.",
    )
    return train_count, test_count


def remarks(rows: Rows) -> list[str]:
    """Returns what a user may not expect of these questions and answers."""
    remarks = []
    if any(text != text.lower() for pair in rows.values() for text in pair):
        remarks.append("letters lose their case")
    distinct = {(question.lower(), answer.lower()) for question, answer in rows.values()}
    answers = Counter(question for question, _ in distinct)
    ambiguous = sum(count > 1 for count in answers.values())
    if ambiguous == 1:
        remarks.append("1 question has several answers, of which each episode accepts one")
    elif ambiguous:
        remarks.append(
            f"{ambiguous:,} questions have several answers, of which each episode accepts one"
        )
    return remarks
