"""The table: every algorithm is a row that says who acts, whose labels, which values, what credit, which surrogate.

Supervised learning and reinforcement learning are one loop; read down a column to see where they part. A row fixes the type of
each part; its knobs are the parts' fields. To add an algorithm, add a row.
"""

from dataclasses import replace
from typing import Any, Literal

from agentic_rl import rewards, selection
from agentic_rl.config import check, config
from agentic_rl.config.ranges import Count, Finite
from agentic_rl.credit.anchors import Gigpo
from agentic_rl.credit.gae import GAE
from agentic_rl.credit.group import Centred, GroupRelative, LeaveOneOut
from agentic_rl.credit.returns import RewardToGo
from agentic_rl.credit.supervised import (
    AdvantageWeighted,
    Imitation,
    OutcomeConditioned,
    SuccessOnly,
)
from agentic_rl.credit.turns import TurnGAE
from agentic_rl.losses import kl, loss_terms
from agentic_rl.losses.surrogates import Cispo, ClippedRatio, LogLikelihood, SequenceRatio
from agentic_rl.optimizer import Adam
from agentic_rl.rollout.actors import Expert, Learner
from agentic_rl.values import NoValue
from agentic_rl.values.critic import Critic
from agentic_rl.values.exact import Exact
from agentic_rl.values.forks import Forks


@config
class Algorithm:
    """One row: the five cells, what else can be swapped, and how a batch is drawn and used."""

    actor: Any  # who acts
    labels: Literal[
        "own", "expert"
    ]  # whose actions are trained on: those taken, or what the expert would have done there
    values: Any  # the expected return before and after each token, for the credits that read it
    credit: Any  # the weight of each action in the loss
    surrogate: Any  # what is maximised
    reward: Any = rewards.Outcome()  # which reward is credited
    selection: Any = selection.All()  # which episodes are trained on
    kl: Any = kl.NoKL()  # what holds the policy near the one at the start
    optimizer: Any = Adam()
    aggregation: loss_terms.Aggregation = (
        "token_mean"  # from tokens to a loss: whether long episodes weigh more
    )
    problems: Count = 32  # drawn per update, over all devices
    attempts: Count = 8  # episodes at each problem
    epochs: Count = 1  # passes over the batch
    minibatches: Count = 4  # gradient steps per pass; 1: strictly on-policy
    refresh: Count = 1  # updates between renewals of the policy that acts; above 1 it lags behind
    entropy_coefficient: Finite = 0.0  # of the entropy bonus

    def __post_init__(self):
        episodes = self.problems * self.attempts
        check(
            episodes % self.minibatches == 0,
            f"minibatches ({self.minibatches}) must divide the {episodes} episodes of an update.",
        )
        self._check_attempts()
        self._check_parts()

    def _check_attempts(self) -> None:
        """Some parts compare attempts."""
        for part in (self.credit, self.selection):
            name, least = type(part).__name__, part.min_attempts
            group = f"{name} compares attempts at the same problem: set --algorithm.attempts to {least} or more, not {self.attempts}."
            check(self.attempts >= least, group)

    def _check_parts(self) -> None:
        """Some parts do not go together."""
        credit, surrogate, reward = (
            type(part).__name__ for part in (self.credit, self.surrogate, self.reward)
        )
        value = f"{credit} needs values: add --values critic (or forks, greedy), or choose another --credit."
        check(self.values.has_values or not self.credit.reads_value, value)
        shown = isinstance(self.actor, Expert)
        ratio = f"{surrogate} compares with the policy that acted, but what is trained on is not what it did: use --surrogate log_likelihood."
        check(self.is_on_policy or not self.surrogate.uses_ratio, ratio)
        branches = "A critic values the actions taken, but the expert's labels are trained on: use --values no_value."
        check(self.labels == "own" or not self.values.learned, branches)
        sampled = "{} reads the probabilities of the policy that acted, but the expert acts: choose another {}."
        check(not (shown and self.credit.reads_sampler), sampled.format(credit, "--credit"))
        check(not (shown and self.reward.reads_reference), sampled.format(reward, "--reward"))
        check(
            not (shown and self.values.keeps_states),
            "The expert acts, so its episodes are not forked by the policy: use --values critic.",
        )
        own = "Forks are played for the task's own reward, not for {}: use --reward outcome, or --values critic."
        check(
            not self.values.keeps_states or isinstance(self.reward, rewards.Outcome),
            own.format(reward),
        )
        check(
            not (shown and self.refresh > 1),
            "The expert acts, which no --algorithm.refresh changes: leave it at 1.",
        )

    @property
    def name(self) -> str:
        """The name of the table's row with these parts, whatever their knobs; "custom" if there is none."""
        return next((name for name, row in by_name().items() if row.cells == self.cells), "custom")

    @property
    def cells(self) -> tuple[Any, ...]:
        """What tells one row of the table from another."""
        return self.labels, *map(
            type, (self.actor, self.values, self.credit, self.surrogate, self.selection)
        )

    @property
    def is_on_policy(self) -> bool:
        """Is what is trained on what the policy itself did, under the prompt that it saw?"""
        return (
            isinstance(self.actor, Learner)
            and self.labels == "own"
            and not self.credit.tells_outcome
        )

    @property
    def reads_old_log_prob(self) -> bool:
        """Does anything ask for the probabilities that the policy which acted gave to what it did?"""
        return self.is_on_policy and (
            self.surrogate.uses_ratio or self.credit.reads_sampler or self.reward.reads_reference
        )

    @property
    def reads_reference(self) -> bool:
        """Does anything ask for the policy at the start of the run?"""
        return self.kl.reads_reference or self.reward.reads_reference


def _algorithm(actor, labels, values_, credit, surrogate, **knobs) -> Algorithm:
    return Algorithm(actor, labels, values_, credit, surrogate, **knobs)


_LIKELIHOOD, _CLIP, _NONE, _CRITIC = LogLikelihood(), ClippedRatio(), NoValue(), Critic()
_LONE = dict(
    problems=256, attempts=1
)  # no group is needed: every episode is at a problem of its own
_HIGHER = ClippedRatio(clip_high=0.28)

#                  who acts   labels    values           credit           surrogate
SFT       = _algorithm(Expert(),  "own",    _NONE,           Imitation(),     _LIKELIHOOD, **_LONE)  # fmt: skip
DAGGER    = _algorithm(Learner(), "expert", _NONE,           Imitation(),     _LIKELIHOOD, **_LONE)  # fmt: skip
RFT       = _algorithm(Learner(), "own",    _NONE,           SuccessOnly(),   _LIKELIHOOD)  # fmt: skip
RVS       = _algorithm(Learner(), "own",    _NONE,           OutcomeConditioned(), _LIKELIHOOD, **_LONE)  # fmt: skip
AWR       = _algorithm(Learner(), "own",    _CRITIC,         AdvantageWeighted(), _LIKELIHOOD, **_LONE)  # fmt: skip
REINFORCE = _algorithm(Learner(), "own",    _NONE,           RewardToGo(),    _LIKELIHOOD)  # fmt: skip
RLOO      = _algorithm(Learner(), "own",    _NONE,           LeaveOneOut(),   _LIKELIHOOD)  # fmt: skip
GRPO      = _algorithm(Learner(), "own",    _NONE,           GroupRelative(), _CLIP, aggregation="sequence_mean")  # fmt: skip
DR_GRPO   = _algorithm(Learner(), "own",    _NONE,           Centred(),       _CLIP, aggregation="constant")  # fmt: skip
DAPO      = _algorithm(Learner(), "own",    _NONE,           GroupRelative(), _HIGHER, selection=selection.Informative())  # fmt: skip
GSPO      = _algorithm(Learner(), "own",    _NONE,           GroupRelative(), SequenceRatio(), aggregation="sequence_mean")  # fmt: skip
CISPO     = _algorithm(Learner(), "own",    _NONE,           GroupRelative(), Cispo())  # fmt: skip
GIGPO     = _algorithm(Learner(), "own",    _NONE,           Gigpo(),         _CLIP, aggregation="sequence_mean")  # fmt: skip
PPO       = _algorithm(Learner(), "own",    _CRITIC,         GAE(),           _CLIP, **_LONE)  # fmt: skip
TURN_PPO  = _algorithm(Learner(), "own",    _CRITIC,         TurnGAE(),       _CLIP, **_LONE)  # fmt: skip
VINEPPO   = _algorithm(Learner(), "own",    Forks(),         TurnGAE(lambda_=0.0), _CLIP, **_LONE)  # fmt: skip
ORACLE    = _algorithm(Learner(), "own",    Exact(),         GAE(lambda_=0.0, whiten=False), _CLIP)  # fmt: skip


def by_name() -> dict[str, Algorithm]:
    """The rows of the table by their lower-case names."""
    return {name.lower(): row for name, row in globals().items() if isinstance(row, Algorithm)}


def swap(algorithm: Algorithm, **parts: Any) -> Algorithm:
    """The row with some of its parts replaced; incompatible parts are refused.

    Raises: ConfigError with a sentence on what does not fit.
    """
    return replace(algorithm, **parts)
