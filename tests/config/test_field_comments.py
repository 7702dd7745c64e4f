"""Every flag says what it is: the help text is the comment beside a field, or right above it."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FILES = [
    path
    for package in ("agentic_rl", "experiments")
    for path in sorted((ROOT / package).rglob("*.py"))
]


def is_config(node: ast.AST) -> bool:
    decorators = [ast.unparse(x) for x in getattr(node, "decorator_list", ())]
    return isinstance(node, ast.ClassDef) and bool({"config", "checked"} & set(decorators))


def unexplained(path: Path) -> list[str]:
    """Returns the fields of configs that have no comment of their own."""
    lines, found = path.read_text().splitlines(), []
    for node in filter(is_config, ast.walk(ast.parse("\n".join(lines)))):
        for field in (x for x in node.body if isinstance(x, ast.AnnAssign)):
            last = lines[field.end_lineno - 1]
            above = lines[field.lineno - 2].strip()
            if "ClassVar" not in last and "#" not in last and not above.startswith("#"):
                found.append(f"{path.relative_to(ROOT)}: {node.name}.{field.target.id}")
    return found


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_every_field_of_a_config_has_a_comment(path):
    assert unexplained(path) == []
