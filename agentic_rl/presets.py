"""Algorithms as papers state them and as public code computes them.

    python -m experiments.train grpo-verl chain_pit

A preset settles what is computed from a batch. How many problems, attempts, epochs and minibatches
there are, and the optimizer, stay those of the plain algorithm. Four more things are the same in
all presets, because parts cannot change them:

- The critic is a head on the policy's trunk.
- The critic is not trained ahead of the policy.
- Whitening divides by the tokens' population deviation (verl, Tunix, VinePPO: the sample's).
- A mean over tokens is over those of its minibatch (TRL: over the batch's, divided by the number of
  minibatches).

Where a paper names no eps, that of the plain algorithm stands. Clamps are part of a preset where
they change what is learned. Two are left out: verl's clamp of log-ratios to ±20, which after the
dual clip changes a token's loss by less than 1e-8, and OpenRLHF's of rewards to ±10, which no task
here reaches. A log-ratio of more than 80 counts as 80 everywhere, where TRL's overflows.

The code is that of TRL 1.16.0, verl 1dda039, Tunix c7d8950, OpenRLHF 3c3be62, RAGEN 20daedc,
VinePPO efe7228, GRPO-Zero d41bb48 and verl-agent (2025). What it does on more than one device or
beside the loss is not covered.
"""

from dataclasses import replace
from typing import NamedTuple

from agentic_rl import algorithms
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
    """An algorithm, and a text on whose it is, what is special, and what is left out of it."""

    algorithm: Algorithm
    about: str


# verl's loss, whatever the advantage
_VERL = dict(surrogate=DualClip(bound=3.0), aggregation="token_mean")
_GROUP = GroupRelative(eps=1e-6)  # the advantage of verl and Tunix
_CRITIC = Critic(discount=1.0, lambda_=1.0, clip=0.5)  # verl's

# fmt: off
_GROUP_BASELINE = {
    "grpo-deepseek": Preset(
        replace(algorithms.GRPO, kl=ReferenceKL(0.04, "k3")),
        "DeepSeekMath (2402.03300, eq. 3): the mean over an episode's tokens, and k3 in the loss"
        " with .04. The paper does not say which deviation is meant.",
    ),
    "grpo-trl": Preset(
        replace(algorithms.GRPO, aggregation="token_mean"),
        "TRL's GRPOTrainer at its defaults: eps 1e-4, no KL, and `loss_type` dapo, the mean over"
        " all tokens. With `loss_type` grpo it is the algorithm grpo.",
    ),
    "grpo-verl": Preset(
        replace(algorithms.GRPO, credit=_GROUP, kl=ReferenceKL(0.001, "k3", clamp=10.0), **_VERL),
        "verl with `adv_estimator=grpo` and the KL loss that it advises (k3, .001): eps 1e-6,"
        " dual clip at 3, mean over all tokens. verl clamps a token's k3 to 10. The term is then"
        " flat where the policy gives the token less than .073 of the reference's probability, or"
        " more than 60,000 times as much.",
    ),
    "grpo-tunix": Preset(
        replace(algorithms.GRPO, credit=_GROUP, surrogate=ClippedRatio(max_log_ratio=20.0),
                kl=ReferenceKL(0.04, "k1")),
        "Tunix's GRPOConfig at its defaults: eps 1e-6, mean over an episode's tokens, log-ratios"
        " clamped at 20, and k1 in the loss with .04. The gradient of k1 is 0 on average as long"
        " as the policy is the one that acted.",
    ),
    "grpo-zero": Preset(
        replace(algorithms.GRPO, credit=GroupRelative(ddof=0), surrogate=LogLikelihood(),
                aggregation="token_mean"),
        "GRPO-Zero: population standard deviation (ddof 0), no ratio and no clip, mean over all"
        " tokens.",
    ),
    "dr-grpo-trl": Preset(
        algorithms.DR_GRPO,
        "Dr. GRPO (2503.20783), TRL's `loss_type` dr_grpo with `scale_rewards` none: division by"
        " neither deviation nor length. It is the algorithm dr_grpo.",
    ),
    "dr-grpo-verl": Preset(
        replace(algorithms.DR_GRPO, surrogate=DualClip(bound=3.0)),
        "Dr. GRPO in verl (`norm_adv_by_std_in_grpo=False`, seq-mean-token-sum-norm): the same"
        " with the dual clip at 3.",
    ),
    "dapo-paper": Preset(
        replace(algorithms.DAPO, reward=SoftOverlong()),
        "DAPO (2503.14476): clip .2 and .28, mean over all tokens, uninformative groups drawn"
        " again, soft overlong punishment. The paper's buffer is a fifth of the budget; here it is"
        " 4 tokens. An episode out of turns pays the whole punishment, and one whose length the"
        " task fixes pays none. A slot without an informative group after 4 draws stays empty.",
    ),
    "gspo-trl": Preset(
        algorithms.GSPO,
        "GSPO (2507.18071, eq. 5) as TRL advises: `importance_sampling_level` sequence,"
        " `loss_type` grpo, clip 3e-4 and 4e-4. It is the algorithm gspo.",
    ),
    "gspo-verl": Preset(
        replace(algorithms.GSPO, credit=_GROUP, surrogate=GspoToken(max_log_ratio=10.0)),
        "GSPO-token (2507.18071, eq. 14), the form that verl and Tunix have, at the paper's"
        " clips. Wherever an episode's tokens share their credit, the gradient is GSPO's. eps is"
        " 1e-6, and log-ratios are clamped from above at 10. Tunix also clamps each token's at 20"
        " before the mean. verl leaves the mean over episodes to `loss_agg_mode`, which its"
        " example sets as here.",
    ),
    "cispo-trl": Preset(
        replace(algorithms.CISPO, surrogate=Cispo(clip_low=1.0, clip_high=4.0)),
        "TRL's `loss_type` cispo at the advised `epsilon_high` of 5. There it is the largest"
        " weight itself: an upper bound only.",
    ),
    "cispo-verl": Preset(
        replace(algorithms.CISPO, credit=_GROUP, surrogate=Cispo(clip_low=0.2, clip_high=0.2)),
        "verl's cispo at its default clips: weights between .8 and 1.2, bounded on both sides."
        " eps is 1e-6.",
    ),
    "reinforce++-baseline": Preset(
        replace(algorithms.GRPO, credit=Centred(whiten=True),
                kl=ReferenceKL(1e-5, "k2", clamp=10.0), aggregation="token_mean"),
        "REINFORCE++-baseline (2501.03262), OpenRLHF's example: the group's mean, the whole"
        " batch's deviation, and k2 in the loss, each token's clamped to 10.",
    ),
    "rloo-trl": Preset(
        replace(algorithms.RLOO, reward=KlReward(0.05, "k1"),
                surrogate=SequenceRatio(0.2, 0.2, mean=False), aggregation="sequence_mean"),
        "TRL's RLOOTrainer: k1 is summed into the return with .05 before the others' mean is"
        " taken off. Each episode has one clipped ratio, the product of its tokens'.",
    ),
    "rloo-verl": Preset(
        replace(algorithms.RLOO, **_VERL),
        "verl with `adv_estimator=rloo`: ratios of tokens with the dual clip at 3, no KL.",
    ),
    "opo": Preset(
        replace(algorithms.GRPO, credit=LengthWeighted(), **_VERL),
        "OPO (2505.23585) as in verl: the baseline is the group's return per token, and there is"
        " no KL. The paper asks for on-policy updates, which are `--algorithm.minibatches 1`.",
    ),
    "otb": Preset(
        replace(algorithms.GRPO, credit=OptimalToken(), **_VERL),
        "verl's optimal token baseline (2602.07078), `adv_estimator` optimal_token_baseline, and"
        " for several turns tir_optimal_token_baseline: the k-th token that a policy wrote is"
        " compared with the others' k-th. Behind the end of the second longest episode the"
        " baseline is 0, so that the longest is credited with its reward to go there.",
    ),
    "gigpo-paper": Preset(
        replace(algorithms.GIGPO, credit=Gigpo(scale="mean_std"), kl=ReferenceKL(0.01, "k3"),
                aggregation="token_mean"),
        "GiGPO (2505.10978, eq. 3 to 9) with standard deviations: the mean over episodes, and k3"
        " with .01. The paper writes a ratio of whole actions; here it is of tokens, as in its"
        " code.",
    ),
    "gigpo-code": Preset(
        replace(algorithms.GIGPO, credit=Gigpo(baseline="turns"),
                kl=ReferenceKL(0.01, "k3", clamp=10.0), **_VERL),
        "verl-agent's gigpo, mode mean_norm: there is no deviation, but the mean counts an"
        " episode once per turn, so that long ones weigh more. Dual clip at 3, k3 clamped to 10."
        " Its penalty on illegal actions is left out. Its anchor is the text seen; here it is the"
        " task's state.",
    ),
}
_OWN_RETURN = {
    "reinforce++": Preset(
        replace(algorithms.REINFORCE, reward=KlReward(0.01, "k1", clamp=10.0),
                credit=RewardToGo(whiten=True), surrogate=ClippedRatio()),
        "REINFORCE++ (2501.03262), OpenRLHF's defaults: each token's k1, clamped to ±10, is in"
        " its reward. The reward to go is whitened over the batch, and the ratio is clipped.",
    ),
    "remax": Preset(
        replace(algorithms.PPO, values=Greedy(), credit=GAE(lambda_=1.0, whiten=False),
                surrogate=LogLikelihood(), aggregation="constant"),
        "ReMax (2310.10505, algorithm 1): the reward to go minus the return of the greedy"
        " episode, with log-likelihoods summed over an episode. verl takes its clipped loss"
        " instead.",
    ),
    "pav": Preset(
        replace(algorithms.REINFORCE, credit=ProcessAdvantage()),
        "PAV (2410.08146, eq. 5) in its additive form: the return, compared with the group's,"
        " plus the prover's advantage of each turn. The paper's prover is a learned estimate of"
        " best-of-K; here it is the task's expert. alpha is tuned in the paper.",
    ),
}
_VALUES = {
    "ppo-2017": Preset(
        replace(algorithms.PPO, values=Critic(discount=0.99, lambda_=0.95)),
        "PPO (1707.06347) as OpenAI's baselines run it on MuJoCo: gamma .99 (here per token),"
        " lambda .95 of credit and critic alike, clip .2. Its 10 epochs are `--algorithm.epochs"
        " 10`. It whitens each minibatch, not the batch.",
    ),
    "ppo-verl": Preset(
        replace(algorithms.PPO, values=_CRITIC, credit=GAE(lambda_=1.0), **_VERL),
        "verl with `adv_estimator=gae` at its defaults: gamma and lambda 1, dual clip at 3,"
        " values clipped at .5.",
    ),
    "vc-ppo": Preset(
        algorithms.PPO,
        "VC-PPO (2503.01491): lambda .95 for the policy and 1 for the critic. It is the algorithm"
        " ppo; the pretraining of the critic is left out.",
    ),
    "vapo": Preset(
        replace(algorithms.PPO, credit=LengthAdaptiveGAE(),
                surrogate=ClippedRatio(clip_high=0.28)),
        "VAPO (2504.05118): lambda 1 - 1 / (.05 length), 1 for the critic, clip .2 and .28, mean"
        " over all tokens. Up to 20 tokens that lambda is 0: raise `--algorithm.credit.alpha`. The"
        " pretraining of the critic and the cross-entropy on successes are left out.",
    ),
    "ragen-bi-level": Preset(
        replace(algorithms.GRPO, values=_CRITIC, credit=BiLevelGAE(lambda_=1.0),
                selection=TopSpread(), entropy_coefficient=0.001,
                surrogate=DualClip(clip_high=0.28, bound=3.0), aggregation="token_mean"),
        "RAGEN (2504.20073) with `bi_level_gae`: gamma .95 between turns and 1 within, lambda 1,"
        " the quarter of the groups that spreads most, clip .2 and .28, entropy .001. Its code"
        " takes a reward that is not 0 for the end of a turn, and trains the critic on the"
        " two-level return. Here a turn ends with its last token, and the critic's target is its"
        " own.",
    ),
    "vineppo-paper": Preset(
        replace(algorithms.VINEPPO, values=Forks(count=9), kl=ReferenceKL(1e-4, "k3", clamp=10.0)),
        "VinePPO (2410.01679): the mean of 9 forks from every state, and k3 with 1e-4, clamped to"
        " 10. Its steps are lines of text; here they are turns. Its code adds k3 up over an"
        " episode, where here it is a mean like the rest, and skips a minibatch whose mean ratio"
        " exceeds 10.",
    ),
}
# fmt: on

# First the group is the baseline, then an episode stands alone, then values are known.
TABLE = _GROUP_BASELINE | _OWN_RETURN | _VALUES
PRESETS = {name: preset.algorithm for name, preset in TABLE.items()}
