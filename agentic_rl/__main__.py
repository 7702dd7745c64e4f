"""The command `agentic-rl`, also `python -m agentic_rl`: it runs the programs of this installation, from any folder.

The folder where a user works may hold a package `experiments`, or files named like Python's own (`types.py`), and PYTHONPATH may
name it. So the programs are taken from beside this package, and everything else is looked for in the working folder last.
"""

import sys
from importlib import import_module
from os import getcwd
from os.path import abspath, dirname

HOME = dirname(
    dirname(abspath(__file__))
)  # the folder that holds this package, and its programs beside it


def main() -> None:
    """Runs the program that the command line names."""
    sys.path[:] = [HOME, *behind(getcwd(), sys.path)]
    import_module("experiments")
    del sys.path[0]  # Python's own modules come before what else is installed
    import_module("experiments.programs").main()


def behind(here: str, path: list[str]) -> list[str]:
    """Returns the path with the folder `here`, if it is on it, at the end.

    >>> behind("/work", ["", "/bin", "/lib"]), behind("/work", ["/bin"])
    (['/bin', '/lib', '/work'], ['/bin'])
    """
    others = [folder for folder in path if abspath(folder or here) != here]
    return others + [here] * (len(others) < len(path))


if __name__ == "__main__":
    main()
