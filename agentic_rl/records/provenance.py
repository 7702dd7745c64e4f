"""Where a result comes from: the versions, commit and devices that produced it, and the date."""

import platform
import subprocess
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import agentic_rl
from agentic_rl import parallel

PACKAGES = ("jax", "jaxlib", "flax", "optax", "orbax-checkpoint")


def collect() -> dict[str, Any]:
    """Returns versions, git commit, devices and the date (UTC).

    "git" is None outside a repository; "dirty" says whether any file differs from the commit.
    """
    ours = {"python": platform.python_version(), "agentic_rl": agentic_rl.__version__}
    return {
        "versions": ours | {name: version(name) for name in PACKAGES},
        "git": _commit(),
        "devices": parallel.describe(),
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
    }


def _commit() -> dict[str, Any] | None:
    folder = Path(agentic_rl.__file__).parent
    try:
        # Fails for a copy installed inside somebody else's repository, which does not track it.
        _git(folder, "ls-files", "--error-unmatch", "__init__.py")
        commit, changes = _git(folder, "rev-parse", "HEAD"), _git(folder, "status", "--porcelain")
    except (OSError, subprocess.SubprocessError):
        return None
    return {"commit": commit, "dirty": bool(changes)}


def _git(folder: Path, *command: str) -> str:
    line = ["git", "-C", folder, *command]
    result = subprocess.run(line, capture_output=True, text=True, check=True, timeout=10)
    return result.stdout.strip()
