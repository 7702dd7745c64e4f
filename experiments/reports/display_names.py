"""The names that figures and pages show to a reader, by the names of the code and the CSVs.

A reader knows RLOO; `leave_one_out`, the class's name, is for the code. A study whose arms have
names of its own lists them here, too, so that one thing is called the same in all figures.
"""

NAMES = {
    # algorithms
    "warm_start": "warm start",
    "sft": "SFT",
    "sft_fresh": "fresh SFT",
    "dagger": "DAgger",
    "rft": "RFT",
    "reinforce": "REINFORCE",
    "rloo": "RLOO",
    "grpo": "GRPO",
    "ppo": "PPO",
    "oracle": "oracle (exact values)",
    # credits
    "gigpo": "GiGPO",
    "gae": "GAE",
    "length_adaptive_gae": "length-adaptive GAE",
    "batch_relative": "GRPO, batch's deviation",
    "centred": "centred (Dr. GRPO)",
    "group_relative": "GRPO",
    "leave_one_out": "RLOO",
    "leave_one_out_to_go": "RLOO to go",
    "length_weighted": "OPO",
    "optimal_token": "optimal token baseline",
    "process_advantage": "process advantage (PAV)",
    "advantage_weighted": "advantage-weighted (AWR)",
    "success_only": "successes only (RFT)",
    "bi_level_gae": "bi-level GAE",
    "turn_gae": "GAE over turns",
    "reward_to_go − greedy (ReMax)": "ReMax",
    "reward_to_go − critic": "reward to go − critic",
    "gae not whitened, exact values": "GAE, exact values",
    # who acts, and surrogates
    "learner": "the learner",
    "log_likelihood": "log-likelihood",
    "clipped_ratio": "clipped ratio",
    # arms of studies
    "supervised, once": "supervised",
    "more supervision, autogpt": "more supervision",
    "babyagi": "BabyAGI",
    "autogpt": "AutoGPT",
    "once": "asked once",
    "sft_1": "SFT on single functions",
    "rl_1": "RL on single functions",
    "sft_2": "SFT on two functions",
    "rl_2": "RL on two functions",
    "rft_2": "RFT on two functions",
    "oracle_sft": "SFT on the old policy's right answers",
    "rloo_kl": "RLOO with a KL to the old policy",
    "forks": "forks (VinePPO)",
    "token_mean": "mean over the group's tokens",
    "sequence_mean": "mean over each episode's tokens",
    "constant": "a constant",
    "markov": "unmarked, sees one turn",
    "history": "all that happened",
    "drift": "no way back",
    "unseen_recover": "way back\nnever shown",
    "demoed_recover": "way back\nshown",
    "terminal": "no way back,\npaid at the end",
    "sft_rules": "SFT on four rules",
    "sft_rloo": "SFT, then RLOO",
    "exact": "exact values",
    "shrunk by half": "values shrunk by half",
    "noisy by .2": "values with noise of .2",
    "a fitted critic's": "a fitted critic's values",
}


def words(name: object) -> str:
    """Returns what a reader calls `name`; a name that is not listed is returned without its
    underscores.

    >>> words("leave_one_out"), words("key_door"), words(16)
    ('RLOO', 'key door', '16')
    """
    return NAMES.get(str(name), str(name).replace("_", " "))


def quantity(count: int, noun: str) -> str:
    """Returns a count with its noun.

    >>> quantity(1, "turn"), quantity(2000, "turn")
    ('1 turn', '2,000 turns')
    """
    return f"{count:,} {noun}" if count == 1 else f"{count:,} {noun}s"
