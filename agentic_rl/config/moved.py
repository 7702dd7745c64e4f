"""The present places of classes that have moved since old runs were written.

A run's config.json names each class by its module.
"""

MOVED = {  # module then: module now
    "agentic_rl.acting": "agentic_rl.rollout.actors",
    "agentic_rl.kl": "agentic_rl.losses.kl",
    "agentic_rl.policy": "agentic_rl.policy.transformer",
    "agentic_rl.renamed": "agentic_rl.envs.wrappers.renamed",
    "agentic_rl.run": "agentic_rl.training.run",
    "agentic_rl.scaffolds": "agentic_rl.envs.wrappers.scaffolds",
    "agentic_rl.surrogates": "agentic_rl.losses.surrogates",
}


def current_path(stored: str) -> str:
    """Returns the present path of a class, given the one that a config names.

    >>> current_path("agentic_rl.surrogates.ClippedRatio")
    'agentic_rl.losses.surrogates.ClippedRatio'
    >>> current_path("agentic_rl.rewards.Outcome")
    'agentic_rl.rewards.Outcome'
    """
    module, _, name = stored.rpartition(".")
    return f"{MOVED.get(module, module)}.{name}"
