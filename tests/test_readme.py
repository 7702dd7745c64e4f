"""The README's program on credits runs as it stands there."""

import re
from pathlib import Path

import pytest

from experiments import train

README = Path(__file__).parents[1] / "README.md"
LINE = "grpo key_door --policy.context markov --policy.width 16 --policy.heads 2 --updates 1 --chunk 1 --seeds 1 --eval-episodes 8"


@pytest.mark.slow
def test_the_program_that_scores_a_credit_runs_on_a_run(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(train.parallel, "prepare", lambda devices: None)
    monkeypatch.setattr(train.console, "keep_compiled_programs", lambda: None)
    assert train.main([*LINE.split(), "--run-dir", str(tmp_path / "run")]) == 0
    section = README.read_text().split("## How good is a credit?")[1].split("\n## ")[0]
    (program,) = re.findall(r"```python\n(.*?)```", section, re.DOTALL)
    capsys.readouterr()
    exec(program.replace("runs/grpo-key_door-...", str(tmp_path / "run")), {"__name__": "program"})
    out = capsys.readouterr().out
    assert "pearson" in out and "(4, 8, 10, 1) exact, by enumeration of up to 5 states a turn" in out
