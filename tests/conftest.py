"""Gives the tests four virtual CPU devices, and a compilation cache that all workers share.

Compiling takes most of the time of the tests.
"""

import gc
import os
from pathlib import Path

import hypothesis
import jax

jax.config.update("jax_traceback_in_locations_limit", 0)  # names in programs that nobody reads
jax.config.update("jax_num_cpu_devices", 4)
jax.config.update("jax_compilation_cache_dir", str(Path(__file__).parents[1] / ".cache" / "jax"))
jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.1)

# No deadline, since the first example compiles. The examples are the same in every run, since fresh
# ones would make the suite fail by chance.
hypothesis.settings.register_profile("tests", deadline=None, derandomize=True, max_examples=50)
hypothesis.settings.load_profile("tests")


def pytest_configure(config):
    """Makes compiling cheap: without optimisation it takes half the time.

    The fast tests halve that again by XLA's older code generator for fused operations, which later
    versions of JAX no longer have. The slow tests, which compare more programs to the bit, use the
    one that users have.
    """
    flags = ["--xla_backend_optimization_level=0"]
    if config.option.markexpr == "not slow" and jax.__version_info__ < (0, 11):
        flags.append("--xla_cpu_use_fusion_emitters=false")
    os.environ["XLA_FLAGS"] = " ".join([os.environ.get("XLA_FLAGS", ""), *flags])


# A process on Linux may have 65,530 memory maps. Every compiled program holds some, and a process
# that needs one too many crashes.
MANY_MAPS = 20_000


def pytest_runtest_teardown(item, nextitem):
    """Frees the compiled programs between two files, if there are very many."""
    if nextitem is not None and nextitem.path == item.path:
        return
    maps = Path("/proc/self/maps")
    if maps.exists() and len(maps.read_bytes().splitlines()) > MANY_MAPS:
        from agentic_rl import parallel  # only now: the plugin that checks shapes comes first

        jax.clear_caches()
        for program in [x for x in gc.get_objects() if isinstance(x, parallel.Program)]:
            program.forget()
