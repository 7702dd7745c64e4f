"""Four virtual CPU devices, and one compilation cache that workers and later runs share (compiling is most of the tests' time)."""

import gc
import os
from pathlib import Path

os.environ["XLA_FLAGS"] = (
    os.environ.get("XLA_FLAGS", "") + " --xla_backend_optimization_level=0"
)  # half the time to compile

import hypothesis  # noqa: E402
import jax  # noqa: E402

jax.config.update("jax_num_cpu_devices", 4)
jax.config.update("jax_compilation_cache_dir", str(Path(__file__).parents[1] / ".cache" / "jax"))
jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.1)

# A first example compiles, which no deadline should count; a suite that draws afresh each run fails by chance.
hypothesis.settings.register_profile("tests", deadline=None, derandomize=True, max_examples=50)
hypothesis.settings.load_profile("tests")

MANY_MAPS = 20_000  # of the 65,530 that a process may have on Linux: every compiled program holds some, and one too many is a crash


def pytest_runtest_teardown(item, nextitem):
    """Between files, a process that has compiled very much forgets it."""
    maps = Path("/proc/self/maps")
    if (
        (nextitem is None or nextitem.path != item.path)
        and maps.exists()
        and len(maps.read_bytes().splitlines()) > MANY_MAPS
    ):
        from agentic_rl import parallel  # not before the plugin that checks shapes is there

        jax.clear_caches()
        for program in [x for x in gc.get_objects() if isinstance(x, parallel.Program)]:
            program.forget()
