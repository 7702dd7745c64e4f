"""Runs the notebooks from top to bottom and keeps what came out: `python notebooks/run.py [03 ...]`, by default all (`make notebooks`).

What tells when and where they were run is not kept, so that outputs that are equal leave the file as it was.
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
        "Notebooks are run by nbclient and ipykernel, which are not installed: python -m pip install -e '.[dev]'"
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
            nbformat.write(ran(path), path)
            print(
                f"{path.name}: {time.perf_counter() - begin:.0f} s, {path.stat().st_size / 1000:.0f} kB",
                flush=True,
            )


def ran(path: Path, timeout: int = 600) -> Any:
    """The notebook with new outputs, each cell run within `timeout` seconds in the notebook's folder.

    Raises: CellExecutionError.
    """
    notebook = nbformat.read(path, as_version=4)
    environment = os.environ | {"PYTHONPATH": str(HERE.parent)}
    how = dict(
        coalesce_streams=True,
        record_timing=False,
        resources={"metadata": {"path": str(HERE)}},
        extra_arguments=["--log-level=ERROR"],
    )
    client = NotebookClient(notebook, timeout=timeout, kernel_name="python3", **how)
    client.execute(env=environment)
    return stripped(notebook)


def stripped(notebook: Any) -> Any:
    """The notebook without metadata, but for the language, and the sizes and descriptions of pictures."""
    notebook.metadata = nbformat.from_dict(METADATA)
    for cell in notebook.cells:
        cell.metadata = nbformat.from_dict({})
    return notebook


if __name__ == "__main__":
    main(sys.argv[1:])
