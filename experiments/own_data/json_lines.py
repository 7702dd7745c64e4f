"""Reads questions and answers from a file of JSON lines, and says which row is wrong, and why."""

import codecs
import json
import os
import shlex
from pathlib import Path
from typing import Any, NoReturn

from agentic_rl.config import ConfigError, check

ROW = '{"prompt": ..., "answer": ...}'


class Number(str):
    """A number as the file writes it, so that no digit is lost."""


class Constant(str):
    """NaN, Infinity or -Infinity, which Python reads although JSON does not know them."""


class Object(list):
    """The keys and values of a JSON object in order, with those that occur twice."""


KINDS = {
    type(None): "null",
    bool: "true or false",
    Object: "an object",
    list: "a list",
}


def read(source: str) -> tuple[str, dict[int, tuple[str, str]]]:
    """Returns the file's name, and question and answer by the number of their row.

    Blank rows are skipped, but count. Only a line feed ends a row, with or without a carriage
    return before it. A byte order mark is skipped.
    Raises: ConfigError with the row and what is wrong with it.
    """
    path = Path(os.path.expanduser(source))
    lines = enumerate(_content(path).removeprefix(codecs.BOM_UTF8).split(b"\n"), 1)
    rows = {number: _pair(line, path, number) for number, line in lines if line.strip()}
    check(bool(rows), f"{path} is empty; write one {ROW} a line.")
    return path.name, rows


def _content(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        raise ConfigError(
            f"There is no file {path}; --data takes a file of JSON lines, or reasoning_gym:NAME."
        ) from None
    except OSError as error:
        raise ConfigError(
            f"Cannot read {path}: {str(error.strerror).lower()}. --data takes a file of JSON lines."
        ) from None


def _pair(line: bytes, path: Path, number: int) -> tuple[str, str]:
    """Returns the question and the answer of a row."""

    def fail(sentence: str) -> NoReturn:
        raise ConfigError(f"{path}: row {number} {sentence}")

    row = _parse(_decode(line, path, fail), fail)
    if not isinstance(row, Object):
        fail(f"is {_kind(row)}; each row is an object such as {ROW}.")
    return _text(row, "prompt", fail), _text(row, "answer", fail)


def _decode(line: bytes, path: Path, fail) -> str:
    """Returns the text of a row.

    A file in another encoding has zeros, or bytes that are not UTF-8.
    """
    try:
        check(b"\0" not in line, "zeros")
        return line.decode("utf-8")
    except ValueError:
        has_mark = line.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
        guess = "utf-16" if has_mark or b"\0" in line else "latin1"
        convert = f"iconv -f {guess} -t utf-8 {shlex.quote(str(path))} > converted.jsonl"
        fail(f"is not UTF-8; convert the file, if it is text, for example with: {convert}")


def _parse(text: str, fail) -> Any:
    try:
        return json.loads(
            text,
            parse_int=Number,
            parse_float=Number,
            parse_constant=Constant,
            object_pairs_hook=Object,
        )
    except json.JSONDecodeError as error:
        fail(f"is not JSON ({error.msg}, column {error.colno}); write one {ROW} a line.")
    except RecursionError:
        fail(f"is nested too deeply; each row is an object such as {ROW}.")


def _text(row: Object, key: str, fail) -> str:
    """Returns the text or number under a key of the row."""
    values = [value for name, value in row if name == key]
    if not values:
        keys = _shorten(", ".join(dict.fromkeys(name for name, _ in row))) or "nothing"
        fail(f'has no "{key}" (it has: {keys}); each row is an object such as {ROW}.')
    if len(values) > 1:
        fail(f'says "{key}" {len(values)} times; leave one.')
    value = values[0]
    if not isinstance(value, str) or isinstance(value, Constant):
        fail(f'has {_kind(value)} as its "{key}"; write a text or a number.')
    if not value.strip():
        fail(f'has an empty "{key}"; write a text, or leave out the row.')
    return str(value)


def _kind(value: Any) -> str:
    if isinstance(value, Constant):
        return str(value)
    if isinstance(value, Number):
        return "a number"
    return KINDS.get(type(value), "a text")


def _shorten(text: str) -> str:
    return text if len(text) <= 60 else text[:57] + "..."
