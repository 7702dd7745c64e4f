"""Moving walls moves no number: this checkout computes the same bits as another commit.

    GOLDEN_BASE=main python -m pytest -m slow tests/test_golden.py

Recording takes an hour or more for each of the two commits. `python tests/golden.py --help` tells
how to record and to compare by hand.
"""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.golden import differences

ROOT = Path(__file__).parents[1]
BASE = os.environ.get("GOLDEN_BASE")


@pytest.mark.slow
@pytest.mark.skipif(not BASE, reason="GOLDEN_BASE names the commit to compare with")
def test_this_checkout_computes_what_the_commit_did(tmp_path):
    tree, records = tmp_path / "base", [tmp_path / "before.json", tmp_path / "after.json"]
    subprocess.run(["git", "worktree", "add", "--detach", tree, BASE], cwd=ROOT, check=True)
    try:
        for checkout, file in zip((tree, ROOT), records):
            words = [sys.executable, ROOT / "tests" / "golden.py", "record", file, "--studies"]
            subprocess.run(words, cwd=checkout, check=True)
        assert not differences(*records)
    finally:
        subprocess.run(["git", "worktree", "remove", "--force", tree], cwd=ROOT, check=True)


def test_differences_name_what_is_not_equal_and_what_is_missing(tmp_path):
    a, b = tmp_path / "a.json", tmp_path / "b.json"
    a.write_text('{"grpo": {"loss": [0.1, NaN]}, "ppo": {}}')
    b.write_text('{"grpo": {"loss": [0.10000000000000002, NaN]}}')
    said = "grpo: 1 of 2 differ, first /loss/0: 0.1 before, 0.10000000000000002 after"
    assert differences(a, a) == [] and differences(a, b) == ["ppo: only in one", said]


def test_a_renamed_column_is_the_same_column(tmp_path):
    a, b = tmp_path / "a.json", tmp_path / "b.json"
    a.write_text('{"study|x": {"tables": {"results.csv": [{"row": "grpo"}]}}}')
    b.write_text('{"study|x": {"tables": {"results.csv": [{"algorithm": "grpo"}]}}}')
    assert differences(a, b) == []
