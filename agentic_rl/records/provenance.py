"""Where a result comes from: what made it, in what versions, on what."""

import platform
import subprocess
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import agentic_rl
from agentic_rl import parallel


def collect() -> dict[str, Any]:
    """Versions, git commit (None outside a repository) and whether files differ from it, devices, and date (UTC)."""
    packages = ("jax", "jaxlib", "flax", "optax", "orbax-checkpoint")
    return {
        "versions": {"python": platform.python_version(), "agentic_rl": agentic_rl.__version__}
        | {p: version(p) for p in packages},
        "git": _commit(),
        "devices": parallel.describe(),
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
    }


def _commit() -> dict[str, Any] | None:
    folder = Path(agentic_rl.__file__).parent
    try:
        _git(
            folder, "ls-files", "--error-unmatch", "__init__.py"
        )  # installed inside someone else's repository, it is not tracked
        return {
            "commit": _git(folder, "rev-parse", "HEAD"),
            "dirty": bool(_git(folder, "status", "--porcelain")),
        }
    except (OSError, subprocess.SubprocessError):
        return None


def _git(folder: Path, *command: str) -> str:
    return subprocess.run(
        ["git", "-C", folder, *command], capture_output=True, text=True, check=True, timeout=10
    ).stdout.strip()
