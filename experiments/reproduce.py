"""Runs all studies one after the other, and writes one page on what came out.

    python -m experiments.reproduce --quick       # a smoke test of each, in minutes
    python -m experiments.reproduce --only vine_budget success_crossover --jobs 2
    python -m experiments.reproduce --no-measure --out results      # only the page

Each study runs in a process and a folder of its own. After an interrupt the same command goes on
after the last finished cell. With several jobs, a study's output is shown when it is done.
"""

import inspect
import os
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from types import ModuleType

import numpy as np

from agentic_rl.config import check, checked, registry
from agentic_rl.config.ranges import Count
from agentic_rl.progress import Progress
from experiments import studies as studies_folder
from experiments.cli import console, interrupt, progress, shell
from experiments.cli.flags import from_flags, look_up
from experiments.cli.part_counter import OUTER_POSITION
from experiments.cli.progress import Line
from experiments.cli.progress_text import clock
from experiments.harness import study
from experiments.pages import studies_page

CARELESS = "--xla_backend_optimization_level=0"  # compiles faster, for smoke tests
running: list[subprocess.Popen] = []  # the processes of the studies that run now


@checked
class Command:
    """Run all studies, and write index.html and README.md on what came out."""

    only: tuple[str, ...] = ()  # names of studies; by default all
    quick: bool = False  # a smoke test of each
    measure: bool = True  # --no-measure: only write the pages, on the studies that have results
    jobs: Count = 1  # studies side by side
    out: str = ""  # a folder, with a folder for each study; by default runs/reproduce


def main(arguments: list[str]) -> int:
    command = from_flags(Command, Command(), arguments)
    folder = Path(command.out or f"runs/reproduce{'_quick' * command.quick}")
    chosen = {name: look_up("study", name, studies()) for name in command.only or studies()}
    code = measure_all(list(chosen), command, folder) if command.measure else 0
    if code:
        return code
    done = {name: one for name, one in chosen.items() if has_results(folder / name)}
    check(bool(done), f"There are no results in {folder}: leave out --no-measure.")
    studies_page.write(done, folder)
    return 0


def has_results(folder: Path) -> bool:
    """Returns whether a study was measured in this folder."""
    return (folder / "results.csv").exists()


def studies() -> registry.Registry:
    """Returns every study by its name, with its default flags."""
    loaded, left_out = registry.modules(studies_folder)
    by_name = {}
    for module in loaded:
        file = module.__name__.rpartition(".")[2]
        try:
            for one in own_studies(module):
                if study.name(one) == file:
                    by_name[file] = one
        except Exception as error:  # a user's study that cannot be made
            left_out[file] = registry.import_failure(module.__name__, error)
    return registry.Registry(by_name, left_out)


def own_studies(module: ModuleType) -> list[study.Study]:
    """Returns the studies that a module itself defines, with their default flags."""
    classes = [cls for _, cls in inspect.getmembers(module, inspect.isclass)]
    return [
        cls()
        for cls in classes
        if issubclass(cls, study.Study)
        and cls is not study.Study
        and cls.__module__ == module.__name__
    ]


def measure_all(names: list[str], command: Command, folder: Path) -> int:
    """Runs the studies, and returns the exit code of the first that failed, or 0.

    No study begins after one has failed.
    """
    queue = Queue(names, command, folder)
    interrupt.on_interrupt(queue.describe_stop, patience=10.0)
    with progress_line(command), ThreadPoolExecutor(command.jobs) as pool:
        workers = [pool.submit(queue.work) for _ in range(command.jobs)]
        try:
            for worker in workers:
                worker.result()
        finally:
            queue.codes.append(0)  # interrupted: none begins any more
            for process in running:
                # From a terminal the signal reached them as well; a second one does no harm.
                process.send_signal(signal.SIGINT)
    return queue.codes[0]


class Queue:
    """The studies that still wait, shared by the threads that run them."""

    def __init__(self, names: list[str], command: Command, folder: Path):
        self.names, self.command, self.folder = names, command, folder
        self.waiting = enumerate(names, 1)
        self.began = time.perf_counter()
        self.durations: list[float] = []  # seconds of the studies that ended
        self.codes: list[int] = []  # exit codes of those that failed: once there is one, stop

    def describe_stop(self) -> str:
        """Returns what an interrupted command says."""
        return f"stopped; what is measured is kept in {self.folder}, and the same command goes on."

    def work(self) -> None:
        """Runs one waiting study after the other."""
        while not self.codes and (following := next(self.waiting, None)):
            number, name = following
            start = time.perf_counter()
            progress.say(self.headline(number, name, start), sys.stdout)
            place = f"study {number} of {len(self.names)}"
            code, output = measure(name, self.command, self.folder, place)
            self.durations.append(time.perf_counter() - start)
            if output:
                progress.say(output.rstrip("\n"), sys.stdout)
            if code:
                self.codes.append(code)

    def headline(self, number: int, name: str, now: float) -> str:
        """Returns the line that announces a study: its number, and how long all take."""
        line = f"== {number}/{len(self.names)} {name} | {clock(now - self.began)} since the start"
        if not self.durations:
            return line
        rounds = (len(self.names) - number + 1) / self.command.jobs
        return f"{line}, about {clock(np.mean(self.durations) * rounds)} left"


def progress_line(command: Command) -> AbstractContextManager:
    """Returns the progress line of studies side by side; a single study shows its own."""
    line = Line("reproduce", is_logged=False)
    line.now = Progress("measuring")
    return line if command.jobs > 1 else nullcontext()


def measure(name: str, command: Command, folder: Path, place: str = "") -> tuple[int, str]:
    """Runs a study's command, and returns its exit code and, with several jobs, its output."""
    words = shell.child_process(name, *["--quick"] * command.quick, "--out", folder / name)
    flags = os.environ.get("XLA_FLAGS", "") + f" {CARELESS}" * command.quick
    environment = os.environ | {"XLA_FLAGS": flags, OUTER_POSITION: place}
    pipes = {}
    if command.jobs > 1:
        pipes = dict(stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    with subprocess.Popen(words, env=environment, **pipes) as process:
        running.append(process)
        output, _ = process.communicate()
        running.remove(process)
    return process.returncode, output or ""


if __name__ == "__main__":
    console.main(main)
