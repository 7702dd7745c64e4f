"""Measures success on a task: of chance, of the expert, and of trained policies."""

import dataclasses
import sys
from typing import Any

import jax
import jax.numpy as jnp

from agentic_rl.rollout.actors import Expert, Random
from agentic_rl.rollout.rollout import rollout
from agentic_rl.training.run import Run
from agentic_rl.training.train import train
from experiments.cli import progress
from experiments.cli.flags import parse
from experiments.pages import task_settings
from experiments.pages.task_book import NO_TRAINING, Book
from experiments.pages.task_settings import Setting
from experiments.train import Command as Train

PLAYERS = {"random": Random(), "expert": Expert()}


def setting_now(name: str, who: str, book: Book) -> Setting | None:
    """Returns the setting that a number is measured with today; None if the search lacks runs."""
    match who:
        case "random" | "expert":
            return NO_TRAINING
        case "default":
            return newcomer(name)[1]
        case _:
            return task_settings.choose(book.searched, name)


def newcomer(name: str) -> tuple[Run, Setting]:
    """Returns the run of `train grpo <task>` without other flags, and its setting."""
    run = parse(Train, ["grpo", name]).run
    return run, Setting(
        run.warm_start.updates,
        run.warm_start.num_demos,
        run.algorithm.optimizer.learning_rate,
        run.updates,
    )


def measure_chosen(name: str, task: Any, book: Book, seeds: int, episodes: int) -> None:
    """Adds what the book lacks of chance, the expert, the search, and the setting it chooses."""
    for who, actor in PLAYERS.items():
        for seed in book.missing(name, who, NO_TRAINING, seeds):
            book.add(name, who, seed, NO_TRAINING, success(task, actor, seed, episodes))
    for records in task_settings.search(name, task, book.searched, episodes):
        book.add_search(records)
        progress.say(" ".join(map(str, (name, "search", *records[-1].values()))), sys.stdout)
    setting = task_settings.choose(book.searched, name)
    for seed in book.missing(name, "grpo", setting, seeds) if setting else []:
        run = task_settings.run(task, setting, seed, episodes, eval_every=setting.updates)
        scores = before_and_after(run)
        for who, score in zip(("sft", "grpo"), scores):
            book.add(name, who, seed, setting, score)
        progress.say(" ".join(map(str, (name, *setting, "seed", seed, *scores))), sys.stdout)


def measure_default(name: str, task: Any, book: Book, seeds: int, episodes: int) -> None:
    """Adds what the book lacks of the success with the default flags of `train`."""
    run, setting = newcomer(name)
    sizes = dict(eval_every=run.updates, eval_episodes=episodes, seeds=1, devices=1)
    for seed in book.missing(name, "default", setting, seeds):
        scores = before_and_after(dataclasses.replace(run, seed=seed, **sizes))
        book.add(name, "default", seed, setting, scores[1])
        progress.say(" ".join(map(str, (name, *setting, "seed", seed, *scores))), sys.stdout)


def before_and_after(run: Run) -> tuple[float, float]:
    """Returns the success after the warm start and at the end."""
    result = train(run, on_progress=progress.show)
    return result.first["eval_success"][0], result.last["eval_success"][0]


def success(task: Any, actor: Any, seed: int, episodes: int) -> float:
    """Returns the share of unseen problems that an actor without a network solves."""
    play = jax.jit(
        lambda key: rollout(task, actor, key, jnp.arange(episodes), split="test").success.mean()
    )
    return float(play(jax.random.key(seed)))
