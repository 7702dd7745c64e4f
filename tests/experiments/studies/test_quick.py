"""The smoke test of every study runs from measuring to verdicts."""

import pytest

from experiments import reproduce
from experiments.harness import study

STUDIES = reproduce.studies()
REDUCED = {"credit_bench"}  # takes long; its own tests run it with fewer estimators


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(STUDIES.keys() - REDUCED))
def test_a_smoke_test_measures_plots_and_judges(name, study_folder):
    one = STUDIES[name]
    assert study.run(one, ["--quick", "--out", str(study_folder)]) == 0
    files = {path.name for path in study_folder.iterdir()}
    assert {"results.csv", "table.md", "made_by.json"} < files
    assert any(file.endswith(".png") for file in files)
    assert one.claim in (study_folder / "table.md").read_text()
