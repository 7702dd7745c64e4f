"""A folder is its own registry: every file in it counts, and a file that cannot be imported is left out and harms no other."""

import importlib
import importlib.util
import pkgutil
import re
import traceback
import warnings
from types import ModuleType


class LeftOut(UserWarning):
    """Something in a registry that cannot be used, said in one sentence."""


class Registry(dict):
    """What a registry holds, by name; `left_out` says, for each name that it would hold otherwise, why it does not."""

    def __init__(self, found: dict, left_out: dict[str, str]):
        super().__init__(found)
        self.left_out = left_out
        for sentence in dict.fromkeys(left_out.values()):
            warnings.warn(sentence, LeftOut, stacklevel=1)  # of this line always, so that each sentence is shown once


def modules(package: ModuleType) -> tuple[list[ModuleType], dict[str, str]]:
    """Returns the module, or the modules of a folder, that can be imported, and why the others cannot.

    The sentences stand under the names of what would be there otherwise: the files, and the classes in them.
    """
    names = [package.__name__]
    if hasattr(package, "__path__"):
        names += [f"{package.__name__}.{m.name}" for m in pkgutil.iter_modules(package.__path__) if m.name != "__main__"]
    loaded, left_out = [], {}
    for name in names:
        try:
            loaded.append(importlib.import_module(name))
        except (Exception, SystemExit) as error:
            left_out |= dict.fromkeys([name.rpartition(".")[2], *_classes(name)], sentence(name, error))
    return loaded, left_out


def sentence(module: str, error: BaseException) -> str:
    """Returns why a module is left out: its file, the line, and what Python says of it."""
    line = _line(error, getattr(importlib.util.find_spec(module), "origin", None))
    place = type(error).__name__ + (f" in line {line}" if line else "")
    said = " ".join(str(getattr(error, "msg", error)).split()).rstrip(".")
    return f"{file_of(module)} is left out: {': '.join([place] + [said] * bool(said))}."


def file_of(module: str) -> str:
    """Returns the file of a module as seen from the folder that holds the package.

    >>> file_of("agentic_rl.credit.median")
    'agentic_rl/credit/median.py'
    """
    return module.replace(".", "/") + ".py"


def _line(error: BaseException, file: str | None) -> int | None:
    """Returns the line of `file` that the error comes from, if any does."""
    if isinstance(error, SyntaxError) and error.filename == file:
        return error.lineno
    lines = [line for frame, line in traceback.walk_tb(error.__traceback__) if frame.f_code.co_filename == file]
    return lines[-1] if lines else None


def _classes(module: str) -> list[str]:
    """Returns the names of the classes that a module's file defines, without importing it; none if it is no text."""
    try:
        text = importlib.util.find_spec(module).loader.get_source(module) or ""
    except (ImportError, OSError, SyntaxError, UnicodeDecodeError):
        text = ""
    return re.findall(r"^class\s+(\w+)", text, re.MULTILINE)
