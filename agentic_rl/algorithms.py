"""The table of algorithms: who acts, whose labels, which values, what credit, which surrogate.

Supervised learning and reinforcement learning are one loop; read down a column to see where they
part. An algorithm fixes the type of each part, and the fields of the parts are its knobs. To add an
algorithm, add a line to the table.
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
    """An algorithm: the five parts of the table, the other parts, and how a batch is used."""

    actor: Any  # who acts
    # whose actions are trained on: those taken, or what the expert would have done there
    labels: Literal["own", "expert"]
    values: Any  # the expected return before and after each token, for the credits that read it
    credit: Any  # the weight of each action in the loss
    surrogate: Any  # what is maximised
    reward: Any = rewards.Outcome()  # which reward is credited
    selection: Any = selection.All()  # which episodes are trained on
    kl: Any = kl.NoKL()  # what holds the policy near the one at the start
    optimizer: Any = Adam()  # how a gradient becomes a step
    # from tokens to a loss: whether long episodes weigh more
    aggregation: loss_terms.Aggregation = "token_mean"
    problems: Count = 32  # problems drawn in each update, over all devices
    attempts: Count = 8  # episodes at each problem
    epochs: Count = 1  # passes over the batch
    minibatches: Count = 4  # gradient steps per pass; 1: strictly on-policy
    refresh: Count = 1  # updates between renewals of the policy that acts; above 1 it lags behind
    entropy_coefficient: Finite = 0.0  # coefficient of the entropy bonus

    def __post_init__(self):
        episodes = self.problems * self.attempts
        check(
            episodes % self.minibatches == 0,
            f"minibatches ({self.minibatches}) must divide the {episodes} episodes of an update.",
        )
        self._check_attempts()
        self._check_values()
        self._check_actor()

    def _check_attempts(self) -> None:
        """Checks that parts which compare attempts have some to compare."""
        for part in (self.credit, self.selection):
            check(
                self.attempts >= part.min_attempts,
                f"{type(part).__name__} compares attempts at the same problem: set"
                f" --algorithm.attempts to {part.min_attempts} or more, not {self.attempts}.",
            )

    def _check_values(self) -> None:
        """Checks that credit, labels and reward fit the values."""
        check(
            self.values.has_values or not self.credit.reads_value,
            f"{type(self.credit).__name__} needs values: add --values critic (or forks, greedy),"
            " or choose another --credit.",
        )
        check(
            self.labels == "own" or not self.values.learned,
            "A critic values the actions taken, but the expert's labels are trained on:"
            " use --values no_value.",
        )
        check(
            not self.values.keeps_states or isinstance(self.reward, rewards.Outcome),
            f"Forks are played for the task's own reward, not for {type(self.reward).__name__}:"
            " use --reward outcome, or --values critic.",
        )

    def _check_actor(self) -> None:
        """Checks that no part needs the policy to have acted where it did not."""
        check(
            self.is_on_policy or not self.surrogate.uses_ratio,
            f"{type(self.surrogate).__name__} compares with the policy that acted, but what is"
            " trained on is not what it did: use --surrogate log_likelihood.",
        )
        if not isinstance(self.actor, Expert):
            return
        sampled = (
            "{} reads the probabilities of the policy that acted, but the expert acts:"
            " choose another {}."
        )
        check(not self.credit.reads_sampler, sampled.format(type(self.credit).__name__, "--credit"))
        check(
            not self.reward.reads_reference, sampled.format(type(self.reward).__name__, "--reward")
        )
        check(
            not self.values.keeps_states,
            "The expert acts, so its episodes are not forked by the policy: use --values critic.",
        )
        check(
            self.refresh == 1,
            "The expert acts, which no --algorithm.refresh changes: leave it at 1.",
        )

    @property
    def name(self) -> str:
        """The name of the table's algorithm with parts of these types; "custom" if none has."""
        same = [name for name, x in by_name().items() if x.part_types == self.part_types]
        return same[0] if same else "custom"

    @property
    def part_types(self) -> tuple[Any, ...]:
        """The labels and the types of the parts, which tell one algorithm from another."""
        parts = (self.actor, self.values, self.credit, self.surrogate, self.selection)
        return self.labels, *map(type, parts)

    @property
    def is_on_policy(self) -> bool:
        """Whether the policy itself did what is trained on, under the prompt that it saw."""
        own = isinstance(self.actor, Learner) and self.labels == "own"
        return own and not self.credit.tells_outcome

    @property
    def reads_old_log_prob(self) -> bool:
        """Whether any part reads the probabilities under the policy that acted."""
        return self.is_on_policy and (
            self.surrogate.uses_ratio or self.credit.reads_sampler or self.reward.reads_reference
        )

    @property
    def reads_reference(self) -> bool:
        """Whether any part reads the policy at the start of the run."""
        return self.kl.reads_reference or self.reward.reads_reference


_LIKELIHOOD, _CLIP, _HIGHER = LogLikelihood(), ClippedRatio(), ClippedRatio(clip_high=0.28)
_NONE, _CRITIC = NoValue(), Critic()
# Where no group is needed, every episode is at a problem of its own.
_LONE = dict(problems=256, attempts=1)
_PER_SEQUENCE = dict(aggregation="sequence_mean")

# fmt: off
#                     who acts   labels    values   credit           surrogate
SFT       = Algorithm(Expert(),  "own",    _NONE,   Imitation(),     _LIKELIHOOD, **_LONE)
DAGGER    = Algorithm(Learner(), "expert", _NONE,   Imitation(),     _LIKELIHOOD, **_LONE)
RFT       = Algorithm(Learner(), "own",    _NONE,   SuccessOnly(),   _LIKELIHOOD)
RVS       = Algorithm(Learner(), "own",    _NONE,   OutcomeConditioned(), _LIKELIHOOD, **_LONE)
AWR       = Algorithm(Learner(), "own",    _CRITIC, AdvantageWeighted(), _LIKELIHOOD, **_LONE)
REINFORCE = Algorithm(Learner(), "own",    _NONE,   RewardToGo(),    _LIKELIHOOD)
RLOO      = Algorithm(Learner(), "own",    _NONE,   LeaveOneOut(),   _LIKELIHOOD)
GRPO      = Algorithm(Learner(), "own",    _NONE,   GroupRelative(), _CLIP, **_PER_SEQUENCE)
DR_GRPO   = Algorithm(Learner(), "own",    _NONE,   Centred(),       _CLIP, aggregation="constant")
DAPO      = Algorithm(Learner(), "own",    _NONE,   GroupRelative(), _HIGHER,
                      selection=selection.Informative())
GSPO      = Algorithm(Learner(), "own",    _NONE,   GroupRelative(), SequenceRatio(),
                      **_PER_SEQUENCE)
CISPO     = Algorithm(Learner(), "own",    _NONE,   GroupRelative(), Cispo())
GIGPO     = Algorithm(Learner(), "own",    _NONE,   Gigpo(),         _CLIP, **_PER_SEQUENCE)
PPO       = Algorithm(Learner(), "own",    _CRITIC, GAE(),           _CLIP, **_LONE)
TURN_PPO  = Algorithm(Learner(), "own",    _CRITIC, TurnGAE(),       _CLIP, **_LONE)
VINEPPO   = Algorithm(Learner(), "own",    Forks(), TurnGAE(lambda_=0.0), _CLIP, **_LONE)
ORACLE    = Algorithm(Learner(), "own",    Exact(), GAE(lambda_=0.0, whiten=False), _CLIP)
# fmt: on


def by_name() -> dict[str, Algorithm]:
    """Returns the algorithms of the table by their lower-case names."""
    return {name.lower(): x for name, x in globals().items() if isinstance(x, Algorithm)}


def swap(algorithm: Algorithm, **parts: Any) -> Algorithm:
    """Returns the algorithm with some of its parts replaced.

    Raises: ConfigError with a sentence on what does not fit.
    """
    return replace(algorithm, **parts)
