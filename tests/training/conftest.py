"""The run that the tests of this room compare others with."""

import pytest

from tests.training.toy_run import train_in


@pytest.fixture(scope="session")
def whole(tmp_path_factory):
    """Returns the directory of an uninterrupted run, and its result."""
    path = tmp_path_factory.mktemp("runs") / "whole"
    return path, train_in(path)
