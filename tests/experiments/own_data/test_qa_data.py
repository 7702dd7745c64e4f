"""A file of questions and answers becomes a task, or one sentence says which row is wrong."""

import json
import os
from pathlib import Path

import pytest

from agentic_rl.config import ConfigError, from_json, to_json
from agentic_rl.envs.dataset import Dataset, decode, encode
from agentic_rl.policy import layout
from agentic_rl.records.run_directory import RunDirectory
from agentic_rl.records.tensorboard.hparams import hparams
from experiments import train
from experiments.cli import flags
from experiments.own_data import characters, json_lines, qa_data
from tests.experiments.program_runs import sums_as_json_lines

CASES = Path(__file__).parents[2] / "cases"
ROW = b'{"prompt": "1+1", "answer": "2"}\n'


@pytest.fixture
def file(tmp_path):
    """Returns a function that writes a file, and returns its path."""

    def file(content, name="mine.jsonl"):
        (tmp_path / name).write_bytes(content if isinstance(content, bytes) else content.encode())
        return str(tmp_path / name)

    return file


def rows(source):
    return json_lines.read(str(source))[1]


def refusal(source, **options):
    with pytest.raises(ConfigError) as refused:
        qa_data.load(str(source), **options)
    sentence = str(refused.value)
    assert "\n" not in sentence and sentence.endswith((".", "jsonl"))
    return sentence


# The files that failed


def test_a_byte_order_mark_is_skipped():
    assert rows(CASES / "bom.jsonl") == {1: ("1+2", "3"), 2: ("2+2", "4")}


def test_only_a_line_feed_ends_a_line():
    assert rows(CASES / "line_separator.jsonl") == {
        1: ("1+2\u2028now", "3"),
        2: ("2+2", "4"),
        3: ("3+2", "5"),
    }


@pytest.mark.parametrize(
    "name, words",
    {
        "latin1": "row 1 is not UTF-8; convert the file, if it is text, for example with: iconv -f"
        " latin1 -t utf-8",
        "null_answer": 'row 2 has null as its "answer"; write a text or a number.',
        "chat_prompt": 'row 1 has a list as its "prompt"; write a text or a number.',
        "damaged_third_line": "row 3 is not JSON (Expecting value, column 29)",
        "two_scripts": "two_scripts.jsonl has characters that have no token, 京 北 東, in 2 of 2"
        " pairs (first in row 1)",
        "three_pairs": "3 pairs to train and 0 to test on",
    }.items(),
)
def test_a_file_that_failed_is_refused_in_a_sentence_with_its_row(name, words):
    assert words in refusal(CASES / f"{name}.jsonl")


# Rows


WRONG = {
    "nothing": (b"", "is empty; write one"),
    "blank lines": (b"\n \n\r\n", "is empty; write one"),
    "no JSON": (ROW + b"\n\nnot json\n", "row 4 is not JSON (Expecting value, column 1)"),
    "two objects in a row": (ROW[:-1] + ROW, "row 1 is not JSON (Extra data"),
    "a carriage return alone": (ROW[:-1] + b"\r" + ROW, "row 1 is not JSON (Extra data"),
    "a file of one list": (
        b'[{"prompt": "1", "answer": "2"}]',
        "row 1 is a list; each row is an object such as",
    ),
    "a number": (b"3", "row 1 is a number; each row is an object"),
    "a text": (b'"x"', "row 1 is a text; each row is an object"),
    "null": (b"null", "row 1 is null; each row is an object"),
    "other keys": (
        b'{"question": "x", "output": "y"}',
        'row 1 has no "prompt" (it has: question, output)',
    ),
    "no keys": (b"{}", 'row 1 has no "prompt" (it has: nothing)'),
    "no answer": (ROW + b'\n{"prompt": "x"}', 'row 3 has no "answer" (it has: prompt)'),
    "a key twice": (
        b'{"prompt": "x", "answer": "1", "answer": "2"}',
        'row 1 says "answer" 2 times; leave one.',
    ),
    "an object": (
        b'{"prompt": {"text": "x"}, "answer": "1"}',
        'row 1 has an object as its "prompt"; write a text or a number.',
    ),
    "a list": (b'{"prompt": "x", "answer": ["1", "2"]}', 'row 1 has a list as its "answer"'),
    "true": (b'{"prompt": "x", "answer": true}', 'row 1 has true or false as its "answer"'),
    "NaN": (b'{"prompt": "x", "answer": NaN}', 'row 1 has NaN as its "answer"'),
    "infinity": (b'{"prompt": "x", "answer": -Infinity}', 'row 1 has -Infinity as its "answer"'),
    "an empty answer": (
        b'{"prompt": "x", "answer": ""}',
        'row 1 has an empty "answer"; write a text, or leave out the row.',
    ),
    "an empty prompt": (b'{"prompt": " \\n", "answer": "1"}', 'row 1 has an empty "prompt"'),
    "deep nesting": (b'{"prompt": ' + b"[" * 100_000, "row 1 is nested too deeply"),
    "UTF-16": (
        '{"prompt": "x", "answer": "1"}'.encode("utf-16"),
        "if it is text, for example with: iconv -f utf-16",
    ),
    "UTF-16 without a mark": (
        '{"prompt": "x", "answer": "1"}'.encode("utf-16-le"),
        "row 1 is not UTF-8",
    ),
    "no text": (
        ROW + b"\x1f\x8b\x08\x00\xff",
        "row 2 is not UTF-8; convert the file, if it is text",
    ),
    "a zero": (ROW + b'{"prompt": "x\0", "answer": "1"}', "row 2 is not UTF-8"),
}


@pytest.mark.parametrize("what", WRONG)
def test_a_row_that_is_no_pair_is_named_with_what_is_wrong(file, what):
    content, words = WRONG[what]
    assert words in refusal(file(content))


def test_blank_lines_and_carriage_returns_are_no_rows_but_count(file):
    assert rows(file(b"\r\n" + ROW + b"  \n" + ROW[:-1] + b"\r\n")) == {
        2: ("1+1", "2"),
        4: ("1+1", "2"),
    }


@pytest.mark.parametrize(
    "number",
    ["2", "-0", "2.50", "1e400", "1E+5", "9" * 5000, "0.1000000000000000055511151231257827"],
)
def test_a_number_is_the_text_that_the_file_writes(file, number):
    assert rows(file(f'{{"prompt": 1, "answer": {number}, "more": [{{}}, null]}}')) == {
        1: ("1", number)
    }


def test_keys_that_nobody_asks_for_may_be_there(file):
    assert rows(file('{"id": 7, "id": 8, "answer": "2", "tags": ["a"], "prompt": "1+1"}')) == {
        1: ("1+1", "2")
    }


# Files


def test_a_file_that_cannot_be_read_is_refused_in_a_sentence(tmp_path, file):
    assert (
        "There is no file nowhere; --data takes a file of JSON lines, or reasoning_gym:NAME."
        in refusal("nowhere")
    )
    assert (
        refusal(tmp_path)
        == f"Cannot read {tmp_path}: is a directory. --data takes a file of JSON lines."
    )
    assert "file name too long" in refusal("x" * 1000)
    if os.geteuid():  # root may read everything
        os.chmod(file(ROW), 0)
        assert "permission denied" in refusal(tmp_path / "mine.jsonl")


def test_a_tilde_is_the_home_folder(tmp_path, monkeypatch, file):
    monkeypatch.setenv("HOME", str(tmp_path))
    file(ROW)
    assert rows("~/mine.jsonl") == {1: ("1+1", "2")}


# The task


def test_a_file_becomes_a_task_with_a_name_that_its_stored_config_keeps(file, capsys):
    task = qa_data.load(file(sums_as_json_lines()))
    assert task.pairs[7] == ("7+7=", "14") and task.name == "mine.jsonl" and len(task.pairs) == 100
    assert from_json(json.loads(json.dumps(to_json(task)))) == task
    train_count, test_count = qa_data.split_sizes(task, "mine.jsonl")
    assert train_count + test_count == 100 and 10 < test_count < 40
    assert (
        capsys.readouterr().err
        == f"mine.jsonl: {train_count} pairs to train and {test_count} to test on\n"
    )


def test_what_changes_silently_otherwise_is_said(file, capsys):
    qa_data.load(file(sums_as_json_lines() + '{"prompt": "1+1=", "answer": "Two"}\n'))
    said = capsys.readouterr().err
    remarks = (
        "letters lose their case; 1 question has several answers, of which each episode accepts"
    )
    assert f"; {remarks} one\n" in said


def test_pairs_of_one_kind_only_are_refused(file):
    assert (
        "to test on (a hash of each pair decides which are held out, about one in four): add pairs."
        in refusal(file(ROW))
    )


def test_what_is_too_long_for_an_episode_is_refused_with_its_row(file):
    long = {"prompt": "x" * layout.LIMIT, "answer": 1}
    sentence = refusal(file(sums_as_json_lines() + json.dumps(long) + "\n"))
    question, answer = "question has 4,096 characters (row 101)", "answer 3 (row 51)"
    expected = f"the longest {question} and the longest {answer}, together 4,093 at most."
    assert expected in sentence
    longest = {"prompt": "x" * 4090, "answer": 1}
    layout.check_length(qa_data.load(file(sums_as_json_lines() + json.dumps(longest) + "\n")).spec)


# Characters


ODD_PAIR = {"prompt": "caf\u00e9 100%", "answer": "\u5317\u0007"}
ODD = sums_as_json_lines() + json.dumps(ODD_PAIR) + "\n"


def test_characters_without_a_token_are_refused_with_how_to_proceed(file):
    sentence = refusal(file(ODD))
    where = "in 1 of 101 pairs (first in row 101)"
    assert f"mine.jsonl has characters that have no token, U+0007 é 北, {where}." in sentence
    assert (
        "--unknown-characters spell (as in URLs: U+0007 becomes %07) or --unknown-characters drop"
        in sentence
    )


def test_they_can_be_spelled_so_that_nothing_is_lost(file, capsys):
    task = qa_data.load(file(ODD), "spell")
    assert task.pairs[-1] == ("caf%c3%a9 100%25", "%e5%8c%97%07") and all(
        decode(encode(x)) == x for pair in task.pairs for x in pair
    )
    assert "U+0007 é 北 are spelled as in URLs, in 1 of 101 pairs" in capsys.readouterr().err
    assert len({characters.spell(c) for c in "%é北\ud800 ,a"}) == 7


def test_or_their_pairs_left_out(file, capsys):
    assert len(qa_data.load(file(ODD), "drop").pairs) == 100
    assert "without 1 pair with U+0007 é 北" in capsys.readouterr().err
    assert "Every pair of mine.jsonl has characters that have no token (é)" in refusal(
        file('{"prompt": "é", "answer": "1"}'), unknown="drop"
    )


def test_the_flag_goes_with_data_and_has_three_values(file):
    def parse(*words):
        return flags.parse(train.Command, ["sft", "dataset", *words]).run.task

    assert len(parse("--data", file(ODD), "--unknown-characters", "drop").pairs) == 100
    for words, said in (
        (
            ["--data", file(ODD), "--unknown-characters", "keep"],
            "is one of refuse, spell, drop, not keep",
        ),
        (["--unknown-characters", "drop"], "give that, too"),
    ):
        with pytest.raises(ConfigError, match=said):
            parse(*words)


def test_the_whole_data_set_is_shown_nowhere(file, tmp_path, capsys):
    words = ["sft", "dataset", "--data", file(sums_as_json_lines(300))]
    assert train.main([*words, "--print-config"]) == 0
    assert '"pairs": "300 pairs"' in capsys.readouterr().out
    first, second = (
        flags.parse(train.Command, ["sft", "dataset", "--data", file(sums_as_json_lines(n))]).run
        for n in (300, 299)
    )
    RunDirectory.create(tmp_path / "run", to_json(first))
    assert from_json(RunDirectory.open(tmp_path / "run").config) == first
    with pytest.raises(ConfigError, match="task.pairs is .*0.0=.* there and") as refused:
        RunDirectory.create(tmp_path / "run", to_json(second))
    assert len(str(refused.value)) < 500 + len(str(tmp_path))
    settings = hparams(to_json(first))
    assert settings["task"] == "dataset(mine.jsonl, 300 pairs)" and all(
        len(str(x)) < 60 for x in settings.values()
    )
    assert (
        hparams(to_json(Dataset())) == {}
        and hparams({"task": to_json(Dataset())})["task"] == "dataset(100 pairs)"
    )


def test_without_data_it_is_said_what_the_data_set_is(capsys):
    flags.parse(train.Command, ["sft", "dataset"])
    assert capsys.readouterr().err.startswith(
        "dataset: its own 100 sums of two digits; --data FILE"
    )
