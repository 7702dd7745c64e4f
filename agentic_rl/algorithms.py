"""The table: every algorithm is a row that says who acts, whose labels, which values, what credit, which surrogate.

Supervised learning and reinforcement learning are one loop; read down a column to see where they part. A row fixes the type of
each part; its knobs are the parts' fields. To add an algorithm, add a row.
"""

from dataclasses import replace
from typing import Any, Literal

from agentic_rl import losses, values
from agentic_rl.acting import Expert, Learner
from agentic_rl.config import check, config
from agentic_rl.credit.gae import GAE
from agentic_rl.credit.group import GroupRelative, LeaveOneOut
from agentic_rl.credit.returns import RewardToGo
from agentic_rl.credit.supervised import Imitation, SuccessOnly
from agentic_rl.optimizer import Adam


@config
class Algorithm:
    """One row: the five cells, and how a batch is drawn and used."""

    actor: Any  # who acts
    labels: Literal["own", "expert"]  # whose actions are trained on: those taken, or what the expert would have done there
    values: Any  # the expected return before and after each token, for the credits that read it
    credit: Any  # the weight of each action in the loss
    surrogate: Any  # what is maximised
    optimizer: Any = Adam()
    aggregation: losses.Aggregation = "token_mean"  # from tokens to a loss: whether long episodes weigh more
    problems: int = 32  # drawn per update, over all devices
    attempts: int = 8  # episodes at each problem
    epochs: int = 1  # passes over the batch
    minibatches: int = 4  # gradient steps per pass; 1: strictly on-policy
    kl_coefficient: float = 0.0  # of the k3 estimate of KL(policy ‖ policy at the start), on the tokens trained on
    entropy_coefficient: float = 0.0  # of the entropy bonus

    def __post_init__(self):
        for name in ("problems", "attempts", "epochs", "minibatches"):
            check(getattr(self, name) >= 1, f"{name} must be 1 or more, not {getattr(self, name)}.")
        episodes = self.problems * self.attempts
        check(episodes % self.minibatches == 0, f"minibatches ({self.minibatches}) must divide the {episodes} episodes of an update.")
        self._check_parts()

    def _check_parts(self) -> None:
        """Some parts do not go together."""
        name, least = type(self.credit).__name__, self.credit.min_attempts
        group = f"{name} compares attempts at the same problem: set --algorithm.attempts to {least} or more, not {self.attempts}."
        check(self.attempts >= least, group)
        has_critic = isinstance(self.values, values.Critic)
        check(has_critic or not self.credit.reads_value, f"{name} needs values: add --values critic, or choose another --credit.")
        shown = isinstance(self.actor, Expert) or self.labels == "expert"
        ratio = "ClippedRatio compares with the policy that acted, but the expert's actions are trained on: use --surrogate log_likelihood."
        check(not (shown and isinstance(self.surrogate, losses.ClippedRatio)), ratio)
        critic = "A critic values the actions taken, but the expert's labels are trained on: use --values no_value."
        check(not (self.labels == "expert" and has_critic), critic)

    @property
    def is_on_policy(self) -> bool:
        """Is what is trained on what the policy itself did?"""
        return isinstance(self.actor, Learner) and self.labels == "own"


def _row(actor, labels, values_, credit, surrogate, **knobs) -> Algorithm:
    return Algorithm(actor, labels, values_, credit, surrogate, **knobs)


_LIKELIHOOD, _CLIP, _NONE = losses.LogLikelihood(), losses.ClippedRatio(), values.NoValue()
_LONE = dict(problems=256, attempts=1)  # no group is needed: every episode is at a problem of its own

#                  who acts   labels    values           credit           surrogate
SFT       = _row(Expert(),  "own",    _NONE,           Imitation(),     _LIKELIHOOD, **_LONE)  # fmt: skip
DAGGER    = _row(Learner(), "expert", _NONE,           Imitation(),     _LIKELIHOOD, **_LONE)  # fmt: skip
RFT       = _row(Learner(), "own",    _NONE,           SuccessOnly(),   _LIKELIHOOD)  # fmt: skip
REINFORCE = _row(Learner(), "own",    _NONE,           RewardToGo(),    _LIKELIHOOD)  # fmt: skip
RLOO      = _row(Learner(), "own",    _NONE,           LeaveOneOut(),   _LIKELIHOOD)  # fmt: skip
GRPO      = _row(Learner(), "own",    _NONE,           GroupRelative(), _CLIP, aggregation="sequence_mean")  # fmt: skip
PPO       = _row(Learner(), "own",    values.Critic(), GAE(),           _CLIP, **_LONE)  # fmt: skip


def rows() -> dict[str, Algorithm]:
    """The rows of the table by their lower-case names."""
    return {name.lower(): row for name, row in globals().items() if isinstance(row, Algorithm)}


def swap(algorithm: Algorithm, **parts: Any) -> Algorithm:
    """The row with some of its parts replaced; incompatible parts are refused.

    Raises: ConfigError with a sentence on what does not fit.
    """
    return replace(algorithm, **parts)
