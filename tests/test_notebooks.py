"""The notebooks run from the start, define next to nothing, and do not tell where they ran."""

import ast
import json
import re
import resource
from pathlib import Path

import pytest

FOLDER = Path(__file__).parents[1] / "notebooks"
NOTEBOOKS = sorted(FOLDER.glob("*.ipynb"))
NAMES = [
    "01_task_and_agent",
    "02_supervised_and_where_it_breaks",
    "03_policy_gradients_and_credit",
    "04_long_horizons",
    "05_your_own_task_and_credit",
    "06_reproduce_a_table",
]
CLASSES = {"05_your_own_task_and_credit"}  # there one writes a task and a credit
LARGEST, SLOWEST = 300_000, 120  # bytes and seconds
WITHOUT = "Notebooks need nbformat, nbclient and ipykernel: python -m pip install -e '.[dev]'"

each = pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)


def source(cell):
    return "".join(cell["source"])


def code(path):
    """The cells of code."""
    return [cell for cell in json.loads(path.read_text())["cells"] if cell["cell_type"] == "code"]


def nodes(cells):
    return [node for cell in cells for node in ast.walk(ast.parse(source(cell)))]


def long_functions(cells):
    """The names of functions, methods aside, whose body is longer than a line."""
    found = nodes(cells)
    methods = {id(node) for one in found if isinstance(one, ast.ClassDef) for node in one.body}
    functions = [
        node
        for node in found
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and id(node) not in methods
    ]
    return [f.name for f in functions if f.body[-1].end_lineno > f.body[0].lineno]


def stray(notebook):
    """Metadata that a run leaves behind."""
    found = [f"cell {cell['id']}: {key}" for cell in notebook["cells"] for key in cell["metadata"]]
    found += [key for key in notebook["metadata"] if key not in ("kernelspec", "language_info")]
    return found + [key for key in notebook["metadata"]["language_info"] if key != "name"]


def written(notebook):
    """All that can be read in it; pictures are left out."""
    outputs = [output for cell in notebook["cells"] for output in cell.get("outputs", [])]
    for output in outputs:
        output.get("data", {}).pop("image/png", None)
    return json.dumps(notebook, ensure_ascii=False)


def test_all_are_there():
    assert [path.stem for path in NOTEBOOKS] == NAMES


def test_a_long_function_is_found_and_a_method_is_none():
    cell = {
        "source": [
            "f = lambda x: x\n",
            "def g():\n",
            "    return 1\n",
            "class A:\n",
            "    def m(self):\n",
            "        a = 1\n",
            "        return a\n",
        ]
    }
    assert long_functions([cell]) == []
    assert long_functions([{"source": ["def h():\n", "    a = 1\n", "    return a\n"]}]) == ["h"]


@each
def test_no_function_is_longer_than_a_line_and_classes_are_where_one_writes_them(path):
    assert long_functions(code(path)) == []
    assert path.stem in CLASSES or not [
        node.name for node in nodes(code(path)) if isinstance(node, ast.ClassDef)
    ]


@each
def test_it_was_run_from_top_to_bottom_and_ended_well(path):
    cells = code(path)
    assert [cell["execution_count"] for cell in cells] == list(range(1, len(cells) + 1))
    kinds = {
        output.get("name", output["output_type"]) for cell in cells for output in cell["outputs"]
    }
    assert kinds <= {"stdout", "execute_result", "display_data"}, kinds
    silent = [
        source(c)
        for c in cells
        if isinstance(ast.parse(source(c)).body[-1], ast.Expr) and not c["outputs"]
    ]
    assert all(last.splitlines()[-1].startswith("console.") for last in silent), silent


@each
def test_it_has_a_picture_with_a_description_and_is_small(path):
    outputs = [
        output
        for cell in code(path)
        for output in cell["outputs"]
        if "image/png" in output.get("data", {})
    ]
    assert outputs and all(output["metadata"]["image/png"]["alt"] for output in outputs)
    assert path.stat().st_size < LARGEST


@each
def test_nothing_tells_when_and_where_it_was_run(path):
    notebook = json.loads(path.read_text())
    assert stray(notebook) == []
    assert (
        re.findall(
            r"/(?:root|home|tmp|work|Users|opt)/\S*|0x[0-9a-f]{6,}|\b\d\d:\d\d:\d\d\b",
            written(notebook),
        )
        == []
    )


@each
def test_it_is_valid(path):
    nbformat = pytest.importorskip("nbformat", reason=WITHOUT)
    nbformat.validate(nbformat.read(path, as_version=4))


@each
@pytest.mark.slow
def test_it_runs(path, monkeypatch):
    for name in ("nbformat", "nbclient", "ipykernel"):
        pytest.importorskip(name, reason=WITHOUT)
    monkeypatch.syspath_prepend(FOLDER)
    monkeypatch.delenv("XLA_FLAGS", raising=False)
    import run

    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    ran = run.run(path)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert not [
        o for cell in ran.cells for o in cell.get("outputs", []) if o.get("name") == "stderr"
    ]
    assert (
        after.ru_utime - before.ru_utime < 2 * SLOWEST
    )  # of two cores: the clock would also tell of other work beside it
