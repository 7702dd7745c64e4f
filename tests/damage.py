"""Ways to damage the files of a run, which tests of records and of commands share."""

import shutil
from pathlib import Path


def folder_instead(file: Path) -> None:
    remove(file)
    file.mkdir()


def remove(file: Path) -> None:
    shutil.rmtree(file) if file.is_dir() else file.unlink()


def fill(content):
    """Returns damage that replaces a file (or a folder) by what `content` makes of it."""

    def damage(file: Path) -> None:
        before = b"" if file.is_dir() else file.read_bytes()
        if file.is_dir():
            remove(file)
        file.write_bytes(content(before))

    return damage


DAMAGE = {
    "missing": remove,
    "a folder": folder_instead,
    "empty": fill(lambda old: b""),
    "truncated": fill(lambda old: old[: len(old) // 2]),
    "zeros": fill(lambda old: bytes(len(old))),
    "binary": fill(lambda old: bytes(range(256))),
    "garbage": fill(lambda old: b"garbage\n" + old),
    "another type": fill(lambda old: b'["x", {}]\n'),
}
TEXTS = ("config.json", "metrics.jsonl", "episodes.jsonl", "result.json")
VIEW = "run"  # the folder of TensorBoard's view, named after the directory
OTHERS = (
    "checkpoints",
    "checkpoints/3",
    "checkpoints/3/_CHECKPOINT_METADATA",
    "checkpoints/3/default/_METADATA",
    VIEW,
)
CASES = [(file, how) for file in TEXTS for how in DAMAGE]
CASES += [(file, how) for file in OTHERS for how in ("missing", "a folder", "zeros")]
