"""Finds the classes that the files of a folder define, so that a new file needs no registration.

A file that cannot be imported is left out with a warning, and harms no other.
"""

import dataclasses
import importlib
import importlib.util
import inspect
import pkgutil
import re
import traceback
import warnings
from types import ModuleType


class LeftOut(UserWarning):
    """A warning that something in a registry cannot be used, in one sentence."""


class Registry(dict):
    """The classes of a registry by name.

    For each name that the registry would also hold, `left_out` says why it does not.
    """

    def __init__(self, classes: dict, left_out: dict[str, str]):
        super().__init__(classes)
        self.left_out = left_out
        for reason in dict.fromkeys(left_out.values()):
            # Warnings of this one line, whoever calls, so that each sentence is shown once.
            warnings.warn(reason, LeftOut, stacklevel=1)


def modules(package: ModuleType) -> tuple[list[ModuleType], dict[str, str]]:
    """Returns a package and its modules that can be imported, and why the others cannot.

    The reasons are listed under the names that are missing: the files, and the classes in them.
    """
    names = [package.__name__]
    if hasattr(package, "__path__"):
        inner = [m.name for m in pkgutil.iter_modules(package.__path__)]
        names += [f"{package.__name__}.{name}" for name in inner if name != "__main__"]
    loaded, left_out = [], {}
    for name in names:
        try:
            loaded.append(importlib.import_module(name))
        except (Exception, SystemExit) as error:
            missing = [name.rpartition(".")[2], *_class_names(name)]
            left_out |= dict.fromkeys(missing, import_failure(name, error))
    return loaded, left_out


def import_failure(module: str, error: BaseException) -> str:
    """Returns a sentence on why a module is left out: its file, the line, and Python's message."""
    line = _line(error, getattr(importlib.util.find_spec(module), "origin", None))
    place = type(error).__name__ + (f" in line {line}" if line else "")
    message = " ".join(str(getattr(error, "msg", error)).split()).rstrip(".")
    return f"{file_of(module)} is left out: {': '.join([place] + [message] * bool(message))}."


def file_of(module: str) -> str:
    """Returns the file of a module as seen from the folder that holds the package.

    >>> file_of("agentic_rl.credit.median")
    'agentic_rl/credit/median.py'
    """
    return module.replace(".", "/") + ".py"


def _line(error: BaseException, file: str | None) -> int | None:
    """Returns the line of `file` that the error comes from, or None if it comes from elsewhere."""
    if isinstance(error, SyntaxError) and error.filename == file:
        return error.lineno
    frames = list(traceback.walk_tb(error.__traceback__))
    lines = [line for frame, line in frames if frame.f_code.co_filename == file]
    return lines[-1] if lines else None


def _class_names(module: str) -> list[str]:
    """Returns the names of the classes in a module's file, without importing it."""
    try:
        text = importlib.util.find_spec(module).loader.get_source(module) or ""
    except (ImportError, OSError, SyntaxError, UnicodeDecodeError):
        text = ""
    return re.findall(r"^class\s+(\w+)", text, re.MULTILINE)


def snake_case(name: str) -> str:
    """Returns a class's name in snake case; a number of two digits or more is a word.

    >>> snake_case("LeaveOneOut"), snake_case("GAE"), snake_case("AgentsOf2023")
    ('leave_one_out', 'gae', 'agents_of_2023')
    """
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[a-z])(?=[0-9]{2})", "_", name).lower()


def named(package: ModuleType) -> Registry:
    """Returns the config classes of a module or a folder, by snake_case name.

    Left out with a warning are files that cannot be imported, classes that cannot be made without
    arguments, and names that stand for two classes.
    """
    loaded, broken = modules(package)
    classes: dict[str, type] = {}
    unusable: dict[str, str] = {}
    for cls in [cls for module in loaded for cls in _config_classes(module)]:
        name = snake_case(cls.__name__)
        reason = _clash(name, classes[name], cls) if name in classes else _lacks_default(cls)
        if reason:
            unusable[name] = reason
        classes[name] = cls
    usable = {name: cls for name, cls in classes.items() if name not in unusable}
    left_out = {snake_case(name): reason for name, reason in broken.items()}
    return Registry(usable, left_out | unusable)


def _config_classes(module: ModuleType) -> list[type]:
    """Returns the public config classes that a module itself defines."""

    def is_own_config(x) -> bool:
        is_config = inspect.isclass(x) and dataclasses.is_dataclass(x)
        return is_config and x.__module__ == module.__name__

    members = inspect.getmembers(module, is_own_config)
    return [cls for name, cls in members if not name.startswith("_")]


def _clash(name: str, cls: type, other: type) -> str:
    files = " and ".join(file_of(x.__module__) for x in (cls, other))
    return f"{name} is left out: {files} both define it; rename one of the two."


def _lacks_default(cls: type) -> str:
    """Returns a sentence on the first field that has no default, or "" if each has one."""
    for field in dataclasses.fields(cls):
        if field.default is field.default_factory is dataclasses.MISSING:
            file = file_of(cls.__module__)
            return f"{cls.__name__} in {file} is left out: give its field {field.name} a default."
    return ""
