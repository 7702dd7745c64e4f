"""The fixture that tests of studies share."""

import pytest

from experiments.harness import study


@pytest.fixture
def study_folder(tmp_path, monkeypatch):
    """Returns a folder for a study's results, and leaves jax as it is set up in this process."""
    monkeypatch.setattr(study.parallel, "prepare", lambda devices: None)
    monkeypatch.setattr(study.console, "keep_compiled_programs", lambda: None)
    return tmp_path / "out"
