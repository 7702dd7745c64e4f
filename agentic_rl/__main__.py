"""The command `agentic-rl`, also `python -m agentic_rl`: it runs this installation's programs.

The folder where a user works may hold a package `experiments`, or files named like Python's own
(`types.py`), and PYTHONPATH may name it. So the programs are taken from beside this package, and
the working folder is searched last for everything else.
"""

import sys
from importlib import import_module
from os import getcwd
from os.path import abspath, dirname

HOME = dirname(dirname(abspath(__file__)))  # the folder of this package and of its programs


def main() -> None:
    """Runs the program that the command line names."""
    sys.path[:] = [HOME, *search_last(getcwd(), sys.path)]
    import_module("experiments")
    del sys.path[0]  # Python's own modules come before whatever else HOME holds
    import_module("experiments.programs").main()


def search_last(folder: str, path: list[str]) -> list[str]:
    """Returns the search path with `folder` moved to its end, if it is on it.

    >>> search_last("/work", ["", "/bin", "/lib"]), search_last("/work", ["/bin"])
    (['/bin', '/lib', '/work'], ['/bin'])
    """
    others = [entry for entry in path if abspath(entry or folder) != folder]
    return others + [folder] * (len(others) < len(path))


if __name__ == "__main__":
    main()
