"""A folder is its own registry: every file in it counts, and a file that cannot be imported is left out and harms no other."""

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
    """Something in a registry that cannot be used, said in one sentence."""


class Registry(dict):
    """What a registry holds, by name; `left_out` says, for each name that it would hold otherwise, why it does not."""

    def __init__(self, found: dict, left_out: dict[str, str]):
        super().__init__(found)
        self.left_out = left_out
        for sentence in dict.fromkeys(left_out.values()):
            warnings.warn(
                sentence, LeftOut, stacklevel=1
            )  # of this line always, so that each sentence is shown once


def modules(package: ModuleType) -> tuple[list[ModuleType], dict[str, str]]:
    """Returns the module, or the modules of a folder, that can be imported, and why the others cannot.

    The sentences stand under the names of what would be there otherwise: the files, and the classes in them.
    """
    names = [package.__name__]
    if hasattr(package, "__path__"):
        names += [
            f"{package.__name__}.{m.name}"
            for m in pkgutil.iter_modules(package.__path__)
            if m.name != "__main__"
        ]
    loaded, left_out = [], {}
    for name in names:
        try:
            loaded.append(importlib.import_module(name))
        except (Exception, SystemExit) as error:
            left_out |= dict.fromkeys(
                [name.rpartition(".")[2], *_classes(name)], sentence(name, error)
            )
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
    lines = [
        line
        for frame, line in traceback.walk_tb(error.__traceback__)
        if frame.f_code.co_filename == file
    ]
    return lines[-1] if lines else None


def _classes(module: str) -> list[str]:
    """Returns the names of the classes that a module's file defines, without importing it; none if it is no text."""
    try:
        text = importlib.util.find_spec(module).loader.get_source(module) or ""
    except (ImportError, OSError, SyntaxError, UnicodeDecodeError):
        text = ""
    return re.findall(r"^class\s+(\w+)", text, re.MULTILINE)


def snake_case(name: str) -> str:
    """`LeaveOneOut` -> `leave_one_out`; a number of two digits or more is a word.

    >>> snake_case("LeaveOneOut"), snake_case("GAE"), snake_case("AgentsOf2023")
    ('leave_one_out', 'gae', 'agents_of_2023')
    """
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[a-z])(?=[0-9]{2})", "_", name).lower()


def named(package: ModuleType) -> Registry:
    """Returns the config classes that a module, or the modules of a folder, define, by snake_case name.

    What cannot be used is left out with a warning: files that cannot be imported, classes that cannot be made without arguments,
    and names that stand for two classes.
    """
    loaded, broken = modules(package)
    found: dict[str, type] = {}
    unusable: dict[str, str] = {}
    for cls in (cls for module in loaded for cls in _config_classes(module)):
        name = snake_case(cls.__name__)
        said = _clash(name, found[name], cls) if name in found else _lacks_default(cls)
        unusable |= {name: said} if said else {}
        found[name] = cls
    usable = {name: cls for name, cls in found.items() if name not in unusable}
    return Registry(usable, {snake_case(name): said for name, said in broken.items()} | unusable)


def _config_classes(module: ModuleType) -> list[type]:
    """Returns the public config classes that a module itself defines."""
    found = inspect.getmembers(
        module,
        lambda x: (
            inspect.isclass(x) and dataclasses.is_dataclass(x) and x.__module__ == module.__name__
        ),
    )
    return [cls for name, cls in found if not name.startswith("_")]


def _clash(name: str, cls: type, other: type) -> str:
    files = " and ".join(file_of(x.__module__) for x in (cls, other))
    return f"{name} is left out: {files} both define it; rename one of the two."


def _lacks_default(cls: type) -> str:
    """Returns a sentence on the first field that has no default, or nothing if each has one."""
    missing = [
        f.name
        for f in dataclasses.fields(cls)
        if f.default is dataclasses.MISSING and f.default_factory is dataclasses.MISSING
    ]
    where = file_of(cls.__module__)
    return (
        f"{cls.__name__} in {where} is left out: give its field {missing[0]} a default."
        if missing
        else ""
    )
