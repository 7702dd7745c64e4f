"""Runs one function on all devices. No other module knows how many devices there are.

A per-device function `f(*inputs) -> outputs` gets the same inputs on every device and must return
the same outputs. It learns its place by `lax.axis_index(AXIS)` and communicates by collectives over
AXIS. `pmap` and `shard_map` launch the same function.
"""

import os
from collections.abc import Callable
from functools import cache
from typing import Any, Literal

import jax
import jax.export
import numpy as np
from jax.sharding import AxisType, Mesh, PartitionSpec

from agentic_rl.config import check

AXIS = "device"
Launcher = Literal["pmap", "shard_map"]


def prepare(devices: int) -> None:
    """Makes `devices` virtual CPU devices (0: one per core) on a machine without accelerators.

    Call it before jax computes anything.
    """
    if "cpu" in (jax.config.jax_platforms or "cpu"):
        cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
        jax.config.update("jax_num_cpu_devices", devices or cores)


def choose(devices: int) -> list[jax.Device]:
    """Returns the first `devices` devices (0: all).

    Raises: ConfigError if there are fewer.
    """
    available = jax.devices()
    most = len(available)
    check(
        devices <= most,
        f"--devices {devices} asks for more than the {most} there are; add --devices {most}, at"
        " most (also after --resume).",
    )
    return available[: devices or most]


def is_cpu() -> bool:
    """Returns whether the devices are CPUs."""
    return jax.default_backend() == "cpu"


def describe() -> dict[str, Any]:
    """Returns kind, platform and number of the devices of this machine."""
    devices = jax.devices()
    return {"kind": devices[0].device_kind, "platform": devices[0].platform, "count": len(devices)}


# In bfloat16 XLA leaves out roundings by default. Which ones depends on the program, so that acting
# and training would round differently.
OPTIONS = {"xla_allow_excess_precision": False}
# On a CPU this takes a tenth less time to compile than the default, 3; the speed is within 5%.
CPU_OPTIONS = {"xla_backend_optimization_level": 1}


class Program:
    """A function that runs on all devices at once.

    It is compiled for each kind of inputs: their structure, shapes and dtypes.
    """

    def __init__(self, mapped: Callable[[int], Any], first: tuple = ()):
        """Takes a function that is not compiled yet.

        Args:
          mapped: returns the function for a number of inputs, as an object with a `lower` method.
          first: inputs that precede those of each call.
        """
        self._mapped, self._first = mapped, first
        self._compiled: dict[Any, Callable] = {}

    def is_compiled(self, *inputs: Any) -> bool:
        """Returns whether a call with such inputs need not wait for the compiler."""
        return _kind(inputs) in self._compiled

    def compile(self, *inputs: Any) -> Callable:
        """Returns the executable for such inputs, compiled if this is the first time."""
        kind = _kind(inputs)
        if kind not in self._compiled:
            lowered = self._mapped(len(inputs)).lower(*self._first, *inputs)
            self._compiled[kind] = lowered.compile(OPTIONS | (CPU_OPTIONS if is_cpu() else {}))
        return self._compiled[kind]

    def export(self, platform: str, *inputs: Any) -> jax.export.Exported:
        """Returns the program lowered for "cuda" or "tpu", which need not be on this machine.

        The launcher must be shard_map. Inputs may be shapes. Micro-batches are those of this
        machine.
        """
        mapped = self._mapped(len(inputs))
        return jax.export.export(mapped, platforms=[platform])(*self._first, *inputs)

    def forget(self) -> None:
        """Frees all compiled executables."""
        self._compiled.clear()

    def __call__(self, *inputs: Any) -> Any:
        return jax.block_until_ready(self.compile(*inputs)(*self._first, *inputs))


def _kind(inputs: tuple) -> tuple:
    leaves, tree = jax.tree.flatten(inputs)
    return tree, tuple(jax.typeof(x) for x in leaves)


def launch(
    f: Callable, devices: list[jax.Device], launcher: Launcher, donate: tuple[int, ...] = ()
) -> Program:
    """Returns `f` as a program on all `devices`, with replicated inputs and outputs.

    A call returns when its outputs are ready: on jax <= 0.11.2 collectives of programs that are
    not awaited can deadlock on CPU devices.

    Args:
      donate: the positions of inputs whose memory the program reuses.
    """
    if launcher == "pmap":
        return Program(_pmap(f, devices, donate), (np.arange(len(devices)),))
    mesh = Mesh(np.array(devices), (AXIS,), axis_types=(AxisType.Auto,))
    everywhere = PartitionSpec()
    mapped = jax.shard_map(f, mesh=mesh, in_specs=everywhere, out_specs=everywhere, check_vma=False)
    program = jax.jit(mapped, donate_argnums=donate)
    return Program(lambda count: program)


def _pmap(f: Callable, devices: list[jax.Device], donate: tuple[int, ...]) -> Callable[[int], Any]:
    """Returns a function from a number of inputs to `f`, mapped over the devices.

    pmap maps over at least one axis. It is that of the devices' numbers, which `f` does not need.
    """

    @cache
    def mapped(count: int):
        numbered = lambda number, *inputs: f(*inputs)  # noqa: E731
        return jax.pmap(
            numbered,
            AXIS,
            in_axes=(0,) + (None,) * count,
            out_axes=None,
            devices=devices,
            donate_argnums=tuple(i + 1 for i in donate),
        )

    return mapped


def place(tree: Any, devices: list[jax.Device]) -> Any:
    """Returns a copy of every leaf on each device, as `launch`'s programs take and leave them."""
    mesh = Mesh(np.array(devices), (AXIS,), axis_types=(AxisType.Auto,))
    return jax.device_put(tree, jax.sharding.NamedSharding(mesh, PartitionSpec()))


def over_seeds(f: Callable, inputs: Any, at_once: int) -> Any:
    """Returns `f(input, seed_axis)` for each seed of `inputs`' leading axis.

    `at_once` of the seeds are vmapped over the axis "seed". One at a time is faster on a CPU, and
    bitwise what a run with one seed computes; all at once is faster on a GPU.
    """
    if at_once == 1:
        return jax.lax.map(lambda x: f(x, ()), inputs)
    folded = jax.tree.map(lambda x: x.reshape((-1, at_once) + x.shape[1:]), inputs)
    outputs = jax.lax.map(jax.vmap(lambda x: f(x, "seed"), axis_name="seed"), folded)
    return jax.tree.map(lambda x: x.reshape((-1,) + x.shape[2:]), outputs)


def gather(tree: Any) -> Any:
    """Returns every leaf with the devices' parts joined along the leading axis, in order."""
    return jax.tree.map(lambda x: jax.lax.all_gather(x, AXIS, tiled=True), tree)


def my_part(tree: Any) -> Any:
    """Returns this device's part of every leaf's leading axis."""
    count, index = device_count(), jax.lax.axis_index(AXIS)

    def part(x):
        size = len(x) // count
        return jax.lax.dynamic_slice_in_dim(x, index * size, size)

    return jax.tree.map(part, tree)


def total(tree: Any) -> Any:
    """Returns every leaf summed over the devices."""
    return jax.lax.psum(tree, AXIS)


def device_count() -> int:
    """Returns how many devices run the function that is being traced."""
    return jax.lax.psum(1, AXIS)
