"""Flags of other frameworks and of older versions, and what they are called here.

Users of TRL, verl, CleanRL or torch type the flags they know. The answer names ours.
"""

# Flags of this package that had another name in an older version, without their dashes.
RENAMED_FLAGS = {"rows": "algorithms"}
# For each foreign flag: the last words of our flags that mean the same, and a clause that says
# what sets it where a run has no such flag.
NAMES: dict[str, tuple[tuple[str, ...], str]] = {
    "lr": (("learning-rate",), ""),
    "actor-lr": (("optimizer.learning-rate",), ""),
    "critic-lr": (
        ("optimizer.learning-rate",),
        "policy and critic share their weights, and so their learning rate",
    ),
    "lr-scheduler-type": (("optimizer.decay",), ""),
    "warmup-steps": (("optimizer.warmup",), ""),
    "wd": (("weight-decay",), "--optimizer adam has one"),
    "adam-beta1": (("b1",), "--optimizer adam has one"),
    "adam-beta2": (("b2",), "--optimizer adam has one"),
    "max-norm": (("max-grad-norm",), ""),
    "clip-grad-norm": (("max-grad-norm",), ""),
    "batch-size": (("algorithm.problems", "algorithm.attempts"), ""),
    "train-batch-size": (("algorithm.problems", "algorithm.attempts"), ""),
    "per-device-train-batch-size": (("algorithm.problems", "algorithm.attempts"), ""),
    "num-envs": (("algorithm.problems", "algorithm.attempts"), ""),
    "micro-batch-size": (("micro-batch",), ""),
    "gradient-accumulation-steps": (("micro-batch",), ""),
    "mini-batch-size": (("minibatches",), ""),
    "num-minibatches": (("minibatches",), ""),
    "epochs": (("algorithm.epochs", "updates"), ""),
    "num-epochs": (("algorithm.epochs",), ""),
    "num-train-epochs": (("algorithm.epochs", "updates"), ""),
    "update-epochs": (("algorithm.epochs",), ""),
    "ppo-epochs": (("algorithm.epochs",), ""),
    "num-iterations": (("algorithm.epochs",), ""),
    "steps": (("updates",), ""),
    "max-steps": (("updates",), ""),
    "num-steps": (("updates",), ""),
    "total-steps": (("updates",), ""),
    "total-timesteps": (("updates",), ""),
    "iterations": (("updates",), ""),
    "num-generations": (("algorithm.attempts",), ""),
    "group-size": (("algorithm.attempts",), ""),
    "n": (("algorithm.attempts",), ""),
    "num-samples": (("algorithm.attempts",), ""),
    "gamma": (
        ("discount", "turn-discount"),
        "--values critic and --credit reward_to_go or turn_gae have a discount",
    ),
    "lambda": (("lambda_",), "--credit gae or turn_gae, and --values critic, have one"),
    "lam": (("lambda_",), "--credit gae or turn_gae, and --values critic, have one"),
    "gae-lambda": (("credit.lambda_",), "--credit gae or turn_gae has one"),
    "beta": (
        ("kl.coefficient", "reward.coefficient"),
        "--kl reference_kl (in the loss) and --reward kl_reward have a coefficient",
    ),
    "epsilon": (
        ("clip-low", "clip-high"),
        "--surrogate clipped_ratio has --algorithm.surrogate.clip-low and clip-high",
    ),
    "epsilon-low": (("clip-low",), "--surrogate clipped_ratio has --algorithm.surrogate.clip-low"),
    "epsilon-high": (
        ("clip-high",),
        "--surrogate clipped_ratio has --algorithm.surrogate.clip-high",
    ),
    "entropy-coef": (("entropy-coefficient",), ""),
    "vf-coef": (("values.coefficient",), "--values critic has a coefficient"),
    "cliprange-value": (("values.clip",), "--values critic has a clip"),
    "temperature": (
        ("credit.temperature",),
        "training draws actions at temperature 1; evaluate and inspect have a --temperature",
    ),
    "hidden-size": (("policy.width",), ""),
    "num-layers": (("policy.layers",), ""),
    "num-heads": (("policy.heads",), ""),
    "bf16": (("policy.dtype",), ""),
    "gradient-checkpointing": (("policy.remat",), ""),
    "max-turns": (("num-turns",), ""),
    "output-dir": (("run-dir",), ""),
    "log-dir": (("run-dir",), ""),
    "save-steps": (("checkpoint-every",), ""),
    "eval-steps": (("eval-every",), ""),
    "resume-from-checkpoint": ((), "--resume RUN_DIR goes on with a run"),
    "env": ((), "the task is the second word after train, without a flag"),
    "algo": ((), "the algorithm is the first word after train, without a flag"),
    "dataset": ((), "the task dataset takes --data FILE"),
}  # fmt: skip
# Other words for the same foreign flag.
SAME = {
    "kl-coef": "beta", "kl-coeff": "beta", "kl-loss-coef": "beta", "init-kl-coef": "beta",
    "kl-ctl": "beta", "ent-coef": "entropy-coef", "entropy-coeff": "entropy-coef",
    "value-loss-coef": "vf-coef", "clip-range": "epsilon", "cliprange": "epsilon",
    "clip-coef": "epsilon", "clip-eps": "epsilon", "clip-ratio": "epsilon",
    "clip-ratio-low": "epsilon-low", "clip-ratio-high": "epsilon-high",
    "d-model": "hidden-size", "n-embd": "hidden-size", "n-layer": "num-layers",
    "n-layers": "num-layers", "n-head": "num-heads", "n-heads": "num-heads", "rollout-n": "n",
    "logdir": "log-dir", "save-dir": "output-dir", "save-freq": "save-steps",
    "test-freq": "eval-steps", "env-id": "env", "task": "env", "algorithm": "algo",
    "total-epochs": "num-train-epochs", "max-iterations": "iterations",
    "num-updates": "iterations", "warmup": "warmup-steps",
    "num-mini-batches": "num-minibatches",
}  # fmt: skip


def plain(flag: str) -> str:
    """Returns a flag's name without dashes in front, value, and underscores.

    >>> plain("--learning_rate=1"), plain("--algorithm.credit.lambda_")
    ('learning-rate', 'algorithm.credit.lambda')
    """
    name, _, _ = flag.lstrip("-").partition("=")
    return name.replace("_", "-").strip("-").lower()


def answer(flag: str, flags: list[str]) -> str:
    """Returns a clause on what the user means by a flag that there is not; "" if nobody knows.

    Args:
      flag: as the user typed it.
      flags: the flags that there are.

    >>> answer("--lr", ["updates", "algorithm.optimizer.learning-rate"])
    'write --algorithm.optimizer.learning-rate'
    >>> answer("--algorithm.clip-low", ["algorithm.surrogate.clip-low"])
    'write --algorithm.surrogate.clip-low'
    >>> answer("--rows", ["algorithms", "tasks"])
    'it is called --algorithms now'
    """
    name = plain(flag)
    if (new_name := RENAMED_FLAGS.get(name)) in flags:
        return f"it is called --{new_name} now"
    fields, otherwise = NAMES.get(SAME.get(name, name), ((), ""))
    meant = ending_with((name, *fields), flags)
    if not meant and not otherwise:
        last_word = name.rpartition(".")[2]
        meant = ending_with((last_word,), flags)
    return f"write {' or '.join(f'--{known}' for known in meant)}" if meant else otherwise


def ending_with(names: tuple[str, ...], flags: list[str]) -> list[str]:
    """Returns the flags whose last words are one of the names.

    >>> ending_with(("lr", "rate"), ["updates", "optimizer.rate"])
    ['optimizer.rate']
    """
    ends = tuple(f".{plain(name)}" for name in names)
    return [flag for flag in flags if f".{plain(flag)}".endswith(ends)]
