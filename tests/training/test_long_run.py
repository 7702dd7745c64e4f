"""A long run needs no more memory than a short one."""

import gc
import tracemalloc
from dataclasses import replace

import jax.numpy as jnp
import numpy as np
import pytest

from agentic_rl.training import learner
from agentic_rl.training.programs import Programs
from agentic_rl.training.run import WarmStart
from agentic_rl.training.stalls import Stalls
from agentic_rl.training.train import BUDGET, train
from tests.training.toy_run import (
    RUN,
    create,
)


class Instant(Programs):
    """Programs whose updates take no time and return 50 numbers each."""

    def fresh_params(self):
        return {}

    def init(self, *inputs):
        return learner.State({}, (), None, None, jnp.zeros(1, int), jnp.zeros(1, int))

    def compile_updates(self, *inputs):
        pass

    def episodes(self, params):
        return []

    def chunk(self, algorithm, total):
        names = [*BUDGET, "loss", "gradient_norm", *(f"metric{i}" for i in range(43))]
        generator = np.random.default_rng(0)

        def run_chunk(state):
            return state, {name: generator.random((1, self.run.chunk)) for name in names}

        return run_chunk


@pytest.mark.slow
def test_the_entries_of_a_long_run_do_not_stay_in_memory(tmp_path, monkeypatch):
    sizes = []

    def measure(progress):
        if progress.phase == "training" and progress.step in (200, 900):
            gc.collect()
            sizes.append(tracemalloc.get_traced_memory()[0])

    monkeypatch.setattr("agentic_rl.training.train.Programs", Instant)
    monkeypatch.setattr(Stalls, "look", lambda self, entries: [])
    run = replace(
        RUN,
        updates=900,
        chunk=100,
        eval_every=900,
        checkpoint_every=900,
        warm_start=WarmStart(),
        seeds=1,
    )
    with create(tmp_path / "run", run) as directory:
        monkeypatch.setattr(directory, "resume", lambda template: None)
        monkeypatch.setattr(directory, "save", lambda step, state: None)
        monkeypatch.setattr(directory._tensorboard, "add_entry", lambda entry: None)
        tracemalloc.start()
        result = train(run, directory, measure, evaluates=False)
        tracemalloc.stop()
    assert sizes[1] - sizes[0] < 300_000  # 700 entries of 50 numbers are 2 MB
    assert result.first["step"] == 0 and result.last["step"] == 900 and len(result.entries) == 901
