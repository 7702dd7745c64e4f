"""Rows of the table as papers state them and as public code computes them: `python -m experiments.train grpo-verl chain_pit`.

A preset settles what is computed from a batch. How many problems, attempts, epochs and minibatches there are, and the optimizer,
stay the row's. So do four things that parts cannot change: the critic is a head on the policy's trunk, it is not trained ahead of
the policy, whitening divides by the tokens' population deviation (verl, Tunix, VinePPO: the sample's), and a mean over tokens is
over those of its minibatch (TRL: over the batch's, divided by the number of minibatches). Where a paper names no eps, the row's
stands.

Clamps are part of a preset where they change what is learned. Left out are verl's clamp of log-ratios to ±20, which behind the
dual clip changes a token's loss by less than 1e-8, and OpenRLHF's of rewards to ±10, which no task here reaches. A log-ratio of
more than 80 counts as 80 everywhere, where TRL's overflows.

The code meant is that of TRL 1.16.0, verl 1dda039, Tunix c7d8950, OpenRLHF 3c3be62, RAGEN 20daedc, VinePPO efe7228, GRPO-Zero
d41bb48 and verl-agent (2025). What it does on more than one device or beside the loss is not meant.
"""

from dataclasses import replace
from typing import NamedTuple

from agentic_rl import algorithms as rows
from agentic_rl.algorithms import Algorithm
from agentic_rl.credit.anchors import Gigpo
from agentic_rl.credit.gae import GAE, LengthAdaptiveGAE
from agentic_rl.credit.group import Centred, GroupRelative, LengthWeighted, OptimalToken
from agentic_rl.credit.process import ProcessAdvantage
from agentic_rl.credit.returns import RewardToGo
from agentic_rl.credit.turns import BiLevelGAE
from agentic_rl.losses.kl import ReferenceKL
from agentic_rl.losses.surrogates import (
    Cispo,
    ClippedRatio,
    DualClip,
    GspoToken,
    LogLikelihood,
    SequenceRatio,
)
from agentic_rl.rewards import KlReward, SoftOverlong
from agentic_rl.selection import TopSpread
from agentic_rl.values.critic import Critic
from agentic_rl.values.forks import Forks, Greedy


class Preset(NamedTuple):
    """An algorithm, and whose it is: what sets it apart from its like, and what of the original it leaves out."""

    algorithm: Algorithm
    about: str


_VERL = dict(
    surrogate=DualClip(bound=3.0), aggregation="token_mean"
)  # verl's loss, whatever the advantage
_GROUP = GroupRelative(eps=1e-6)  # verl's and Tunix's advantage
_CRITIC = Critic(discount=1.0, lambda_=1.0, clip=0.5)  # verl's

TABLE = {
    # The group is the baseline.
    "grpo-deepseek": Preset(
        replace(rows.GRPO, kl=ReferenceKL(0.04, "k3")),
        "DeepSeekMath (2402.03300, eq. 3): mean over an episode's tokens, k3 in the loss with .04. Which deviation is meant is left open.",
    ),
    "grpo-trl": Preset(
        replace(rows.GRPO, aggregation="token_mean"),
        "TRL's GRPOTrainer at its defaults: eps 1e-4, no KL, and `loss_type` dapo, the mean over all tokens. `loss_type` grpo is row grpo.",
    ),
    "grpo-verl": Preset(
        replace(rows.GRPO, credit=_GROUP, kl=ReferenceKL(0.001, "k3", clamp=10.0), **_VERL),
        "verl with `adv_estimator=grpo` and the KL loss it advises (k3, .001): eps 1e-6, dual clip at 3, mean over all tokens. verl clamps"
        " a token's k3 to 10, so that it is flat where the policy gives the token less than .073 of the reference's probability, or"
        " more than 60,000 times as much.",
    ),
    "grpo-tunix": Preset(
        replace(rows.GRPO, credit=_GROUP, surrogate=ClippedRatio(max_log_ratio=20.0), kl=ReferenceKL(0.04, "k1")),
        "Tunix's GRPOConfig at its defaults: eps 1e-6, mean over an episode's tokens, log-ratios clamped at 20, k1 in the loss with .04,"
        " whose gradient is 0 on average as long as the policy is the one that acted.",
    ),
    "grpo-zero": Preset(
        replace(rows.GRPO, credit=GroupRelative(ddof=0), surrogate=LogLikelihood(), aggregation="token_mean"),
        "GRPO-Zero: population standard deviation (ddof 0), no ratio and no clip, mean over all tokens.",
    ),
    "dr-grpo-trl": Preset(
        rows.DR_GRPO,
        "Dr. GRPO (2503.20783), TRL's `loss_type` dr_grpo with `scale_rewards` none: division by neither deviation nor length. It is row"
        " dr_grpo.",
    ),
    "dr-grpo-verl": Preset(
        replace(rows.DR_GRPO, surrogate=DualClip(bound=3.0)),
        "Dr. GRPO in verl (`norm_adv_by_std_in_grpo=False`, seq-mean-token-sum-norm): the same with the dual clip at 3.",
    ),
    "dapo-paper": Preset(
        replace(rows.DAPO, reward=SoftOverlong()),
        "DAPO (2503.14476): clip .2 and .28, mean over all tokens, uninformative groups drawn again, soft overlong punishment. Its buffer"
        " is a fifth of the budget, here 4 tokens; an episode out of turns pays the whole punishment, one whose length the task fixes none;"
        " a slot without an informative group after 4 draws stays empty.",
    ),
    "gspo-trl": Preset(
        rows.GSPO,
        "GSPO (2507.18071, eq. 5) as TRL advises: `importance_sampling_level` sequence, `loss_type` grpo, clip 3e-4 and 4e-4. It is row"
        " gspo.",
    ),
    "gspo-verl": Preset(
        replace(rows.GSPO, credit=_GROUP, surrogate=GspoToken(max_log_ratio=10.0)),
        "GSPO-token (2507.18071, eq. 14), the form that verl and Tunix have, at the paper's clips: the gradient is GSPO's wherever an"
        " episode's tokens share their credit. eps 1e-6, log-ratios clamped from above at 10. Tunix also clamps each token's at 20 before"
        " the mean; verl leaves the mean over episodes to `loss_agg_mode`, which its example sets as here.",
    ),
    "cispo-trl": Preset(
        replace(rows.CISPO, surrogate=Cispo(clip_low=1.0, clip_high=4.0)),
        "TRL's `loss_type` cispo at the advised `epsilon_high` of 5, which there is the largest weight itself: an upper bound only.",
    ),
    "cispo-verl": Preset(
        replace(rows.CISPO, credit=_GROUP, surrogate=Cispo(clip_low=0.2, clip_high=0.2)),
        "verl's cispo at its default clips: weights between .8 and 1.2, bounded on both sides. eps 1e-6.",
    ),
    "reinforce++-baseline": Preset(
        replace(rows.GRPO, credit=Centred(whiten=True), kl=ReferenceKL(1e-5, "k2", clamp=10.0), aggregation="token_mean"),
        "REINFORCE++-baseline (2501.03262), OpenRLHF's example: the group's mean, the whole batch's deviation, k2 in the loss, each"
        " token's clamped to 10.",
    ),
    "rloo-trl": Preset(
        replace(
            rows.RLOO, reward=KlReward(0.05, "k1"), surrogate=SequenceRatio(0.2, 0.2, mean=False), aggregation="sequence_mean"
        ),
        "TRL's RLOOTrainer: k1 summed into the return with .05 before the others' mean is taken off, and one clipped ratio an episode, the"
        " product of its tokens'.",
    ),
    "rloo-verl": Preset(
        replace(rows.RLOO, **_VERL),
        "verl with `adv_estimator=rloo`: ratios of tokens with the dual clip at 3, no KL.",
    ),
    "opo": Preset(
        replace(rows.GRPO, credit=LengthWeighted(), **_VERL),
        "OPO (2505.23585) as in verl: the baseline is the group's return per token, no KL. On-policy, as the paper asks, with"
        " `--algorithm.minibatches 1`.",
    ),
    "otb": Preset(
        replace(rows.GRPO, credit=OptimalToken(), **_VERL),
        "verl's optimal token baseline (2602.07078), `adv_estimator` optimal_token_baseline and, of several turns,"
        " tir_optimal_token_baseline: the k-th token a policy wrote is compared with the others' k-th. Behind the second longest episode it"
        " is 0, so that the longest earns its reward to go there.",
    ),
    "gigpo-paper": Preset(
        replace(rows.GIGPO, credit=Gigpo(scale="mean_std"), kl=ReferenceKL(0.01, "k3"), aggregation="token_mean"),
        "GiGPO (2505.10978, eq. 3 to 9) with standard deviations: the mean over episodes, k3 with .01. The paper writes a ratio of whole"
        " actions; here, as in its code, it is of tokens.",
    ),
    "gigpo-code": Preset(
        replace(rows.GIGPO, credit=Gigpo(baseline="turns"), kl=ReferenceKL(0.01, "k3", clamp=10.0), **_VERL),
        "verl-agent's gigpo, mode mean_norm: no deviation, but the mean counts an episode once per turn, so long ones weigh more; dual clip"
        " at 3, k3 clamped to 10. Its penalty on illegal actions is left out, and its anchor is the text seen, here the task's state.",
    ),
    # An episode stands alone.
    "reinforce++": Preset(
        replace(rows.REINFORCE, reward=KlReward(0.01, "k1", clamp=10.0), credit=RewardToGo(whiten=True), surrogate=ClippedRatio()),
        "REINFORCE++ (2501.03262), OpenRLHF's defaults: k1 of each token, clamped to ±10, in its reward, reward to go, whitened over the"
        " batch, clipped.",
    ),
    "remax": Preset(
        replace(rows.PPO, values=Greedy(), credit=GAE(lambda_=1.0, whiten=False), surrogate=LogLikelihood(), aggregation="constant"),
        "ReMax (2310.10505, algorithm 1): reward to go minus the return of the greedy episode, log-likelihoods summed over an episode."
        " verl takes its clipped loss instead.",
    ),
    "pav": Preset(
        replace(rows.REINFORCE, credit=ProcessAdvantage()),
        "PAV (2410.08146, eq. 5) in its additive form: the return, compared with the group's, plus the prover's advantage of each turn. The"
        " paper's prover is a learned estimate of best-of-K; here it is the task's expert. alpha is the paper's to tune.",
    ),
    # A critic, or forks, know the value.
    "ppo-2017": Preset(
        replace(rows.PPO, values=Critic(discount=0.99, lambda_=0.95)),
        "PPO (1707.06347) as OpenAI's baselines run it on MuJoCo: gamma .99 (here a token's), lambda .95 of credit and critic alike, clip"
        " .2. Its 10 epochs are `--algorithm.epochs 10`; it whitens each minibatch, not the batch.",
    ),
    "ppo-verl": Preset(
        replace(rows.PPO, values=_CRITIC, credit=GAE(lambda_=1.0), **_VERL),
        "verl with `adv_estimator=gae` at its defaults: gamma and lambda 1, dual clip at 3, values clipped at .5.",
    ),
    "vc-ppo": Preset(
        rows.PPO,
        "VC-PPO (2503.01491): lambda .95 for the policy and 1 for the critic. It is row ppo; the pretraining of the critic is left out.",
    ),
    "vapo": Preset(
        replace(rows.PPO, credit=LengthAdaptiveGAE(), surrogate=ClippedRatio(clip_high=0.28)),
        "VAPO (2504.05118): lambda 1 - 1 / (.05 length), 1 for the critic, clip .2 and .28, mean over all tokens. Up to 20 tokens that"
        " lambda is 0: raise `--algorithm.credit.alpha`. Left out: the pretraining of the critic, and cross-entropy on what succeeded.",
    ),
    "ragen-bi-level": Preset(
        replace(
            rows.GRPO, values=_CRITIC, credit=BiLevelGAE(lambda_=1.0), selection=TopSpread(), entropy_coefficient=0.001,
            surrogate=DualClip(clip_high=0.28, bound=3.0), aggregation="token_mean",
        ),
        "RAGEN (2504.20073) with `bi_level_gae`: gamma .95 between turns and 1 within, lambda 1, the quarter of the groups that spreads"
        " most, clip .2 and .28, entropy .001. Its code takes a reward that is not 0 for the end of a turn and trains the critic on the"
        " two-level return; here a turn ends with its last token, and the critic's target is its own.",
    ),
    "vineppo-paper": Preset(
        replace(rows.VINEPPO, values=Forks(count=9), kl=ReferenceKL(1e-4, "k3", clamp=10.0)),
        "VinePPO (2410.01679): the mean of 9 forks from every state, k3 with 1e-4, clamped to 10. Its steps are lines of text, here turns."
        " Its code adds k3 up over an episode, where here it is a mean like the rest, and skips a minibatch whose mean ratio exceeds 10.",
    ),
}  # fmt: skip
PRESETS = {name: preset.algorithm for name, preset in TABLE.items()}
