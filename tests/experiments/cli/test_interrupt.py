"""Ctrl-C and SIGTERM are answered at once, also while C code holds the main thread.

What can be saved is saved.
"""

import os
import signal
import subprocess
import sys
import time

import pytest

from experiments.cli import interrupt
from tests.experiments.program_runs import ROOT

PROGRAM = """
import hashlib, sys, threading, time
from agentic_rl.progress import Progress
from experiments.cli import interrupt, progress

def compiler():
    "Holds the main thread as the compiler does: no Python handler runs before it ends."
    hashlib.pbkdf2_hmac("sha256", b"x", b"y", 10**9)

def main(phase, total, saved, work):
    should_stop = interrupt.stop_predicate(lambda: "stopped; go on with: again")
    with progress.Line("task", is_logged=False) as line:
        line(Progress(phase, 0, total, saved=saved))
        print("busy", flush=True)
        if work == "compile":
            compiler()
        if work == "join":
            threading.Event().wait()
        while not should_stop():
            time.sleep(0.01)
        print("saved", flush=True)
        return 130

interrupt.PATIENCE = 1.0
try:
    with interrupt.handle_signals():
        code = main(sys.argv[1], int(sys.argv[2]), sys.argv[3] == "saved", sys.argv[4])
    sys.exit(code)
except KeyboardInterrupt:
    print("left", flush=True)
    interrupt.leave()
"""


def start(*words):
    process = subprocess.Popen(
        [sys.executable, "-c", PROGRAM, *words],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
    )
    assert process.stdout.readline() == "busy\n"
    time.sleep(0.3 * (words[-1] == "compile"))  # until it is busy
    return process


def stop(process, *signals):
    """Sends signals, each once the one before is answered; returns exit code, output, seconds."""
    began, said = time.monotonic(), ""
    for i, number in enumerate(signals):
        process.send_signal(number)
        if i + 1 < len(signals):
            said += process.stderr.readline()
    out, err = process.communicate(timeout=60)
    return process.returncode, out, said + err, time.monotonic() - began


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=["ctrl-c", "sigterm"])
def test_the_compiler_is_left_at_once_if_nothing_is_lost(number):
    code, out, err, seconds = stop(start("compiling", "0", "saved", "compile"), number)
    assert (code, out, err) == (130, "", "stopped; go on with: again\n") and seconds < 15


def test_a_program_that_would_lose_something_is_asked_to_stop():
    code, out, err, _ = stop(start("training", "200", "unsaved", "wait"), signal.SIGINT)
    assert (code, out) == (130, "saved\n") and err.startswith(
        "stopping: the updates under way will be finished and saved"
    )


@pytest.mark.parametrize("second", [signal.SIGINT, signal.SIGTERM], ids=["ctrl-c", "sigterm"])
def test_the_second_signal_leaves_at_once_with_a_sentence(second):
    code, out, err, seconds = stop(
        start("training", "200", "unsaved", "compile"), signal.SIGINT, second
    )
    assert code == 130 and out == "" and seconds < 15
    assert [line.partition(":")[0].partition(";")[0] for line in err.splitlines()] == [
        "stopping",
        "stopped",
    ]


@pytest.mark.parametrize("work", ["wait", "join"])
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=["ctrl-c", "sigterm"])
def test_where_python_runs_or_waits_it_ends_in_order(work, number):
    code, out, err, seconds = stop(start("evaluating", "0", "saved", work), number)
    assert (code, out, err) == (130, "left\n", "stopped; go on with: again\n") and seconds < 15


def test_a_main_thread_that_misses_the_signal_gets_it_again(monkeypatch):
    signals = []

    def kill(thread, number):
        signals.append(number)
        if len(signals) == 3:  # the first two came just before it began to wait
            interruption.has_raised = True
            interruption.has_ended.set()

    interruption = interrupt.Interruption()
    interruption.patience = 0.2
    monkeypatch.setattr(signal, "pthread_kill", kill)
    monkeypatch.setattr(interrupt.os, "_exit", lambda code: pytest.fail("it got no other signal"))
    interruption.receive()
    assert signals == [signal.SIGINT] * 3


def test_a_program_that_is_ending_is_not_interrupted_again():
    interruption = interrupt.Interruption()
    interruption.raise_once(signal.SIGINT, None)  # not yet
    interruption.is_leaving = True
    with pytest.raises(KeyboardInterrupt):
        interruption.raise_once(signal.SIGINT, None)
    interruption.raise_once(signal.SIGINT, None)


TRAIN = (
    "-m experiments.train grpo running_sum --policy.width 16 --policy.layers 1 --policy.heads 2 "
    "--policy.mlp 32 --devices 1"
).split()


def run(home, *words):
    """Starts a program with an empty cache of compiled programs, with its output in a file."""
    log = open(home / "log", "w")  # noqa: SIM115
    return subprocess.Popen(
        [sys.executable, *map(str, words)],
        stdout=log,
        stderr=log,
        cwd=ROOT,
        env=os.environ | {"HOME": str(home), "PYTHONPATH": str(ROOT)},
    )


def wait_for(home, text, process, seconds=240):
    end = time.monotonic() + seconds
    while text not in (home / "log").read_text():
        assert process.poll() is None and time.monotonic() < end, (home / "log").read_text()
        time.sleep(0.05)


@pytest.mark.slow
@pytest.mark.parametrize("phase", ["compiling the warm start", "compiling the updates"])
def test_training_is_left_within_seconds_while_it_compiles_and_goes_on(tmp_path, phase):
    process = run(tmp_path, *TRAIN, "--updates", 10, "--run-dir", tmp_path / "run")
    wait_for(tmp_path, phase, process)
    began = time.monotonic()
    process.send_signal(signal.SIGINT)
    assert process.wait(60) == 130 and time.monotonic() - began < 10
    said = (tmp_path / "log").read_text()
    assert (
        f"experiments.train --resume {tmp_path}/run" in said.splitlines()[-1]
        and "Traceback" not in said
    )
    process = run(tmp_path, "-m", "experiments.train", "--resume", tmp_path / "run")
    assert process.wait(300) == 0 and (tmp_path / "run" / "result.json").exists()
    assert ("warm start 30/30" in (tmp_path / "log").read_text()) == (
        phase == "compiling the warm start"
    )


@pytest.mark.slow
def test_reproduce_ends_its_children(tmp_path):
    process = run(
        tmp_path,
        "-m",
        "experiments.reproduce",
        "--quick",
        "--only",
        "horizon",
        "--out",
        tmp_path / "out",
    )
    wait_for(tmp_path, "a smoke test", process)
    time.sleep(5)
    process.send_signal(signal.SIGINT)
    assert process.wait(60) == 130
    said = (tmp_path / "log").read_text()
    assert "Traceback" not in said and "and the same command goes on" in said
    assert not subprocess.run(["pgrep", "-f", str(tmp_path / "out")], capture_output=True).stdout
