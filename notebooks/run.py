"""Runs the notebooks and keeps their outputs: `python notebooks/run.py [03 ...]`, or all of them.

`make notebooks` runs them all. The time and the place of a run are not kept, so that equal outputs
leave a file as it was.
"""

import os
import sys
import time
from pathlib import Path
from typing import Any

try:
    import nbformat
    from nbclient import NotebookClient
except ImportError:
    sys.exit(
        "Notebooks need nbclient and ipykernel, which are not installed: "
        "python -m pip install -e '.[dev]'"
    )

HERE = Path(__file__).parent
METADATA = {
    "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
    "language_info": {"name": "python"},
}


def main(names: list[str]) -> None:
    for path in sorted(HERE.glob("*.ipynb")):
        if not names or path.name.startswith(tuple(names)):
            begin = time.perf_counter()
            nbformat.write(run(path), path)
            seconds, kilobytes = time.perf_counter() - begin, path.stat().st_size / 1000
            print(f"{path.name}: {seconds:.0f} s, {kilobytes:.0f} kB", flush=True)


def run(path: Path, timeout: int = 600) -> Any:
    """Returns the notebook with new outputs.

    Its cells run in the notebook's folder, each for at most `timeout` seconds.
    Raises: CellExecutionError.
    """
    notebook = nbformat.read(path, as_version=4)
    environment = os.environ | {"PYTHONPATH": str(HERE.parent)}
    options = dict(
        coalesce_streams=True,
        record_timing=False,
        resources={"metadata": {"path": str(HERE)}},
        extra_arguments=["--log-level=ERROR"],
    )
    client = NotebookClient(notebook, timeout=timeout, kernel_name="python3", **options)
    client.execute(env=environment)
    return strip_metadata(notebook)


def strip_metadata(notebook: Any) -> Any:
    """Returns the notebook with no metadata but the language, and those of its pictures."""
    notebook.metadata = nbformat.from_dict(METADATA)
    for cell in notebook.cells:
        cell.metadata = nbformat.from_dict({})
    return notebook


if __name__ == "__main__":
    main(sys.argv[1:])
