"""The measures of `testbed.score` as a table, with the meaning of each."""

from math import isnan

from experiments.reports.stats import Record

MEANING = {
    "bias": (
        "distance of the expected credit from the true advantage, in standard deviations of "
        "the truth, as the next two; 0 is best"
    ),
    "bias_affine": "the same after the best scale and offset; 1 if it tells nothing of the truth",
    "bias_in_state": "the same with an offset of its own for each state, as in the gradient",
    "variance": "of the credit around its expectation, over the variance of the truth",
    "pearson": "correlation with the truth",
    "kendall": "rank correlation with the truth",
    "key_accuracy": "share of right signs where much is at stake",
    "leakage": "share of the credit on tokens whose choice changes nothing",
    "key_share": "share of the credit on the task's key decisions",
    "expected_cosine": "how well the gradient of one batch points along the exact one",
    "cosine_bias": "how well the expected gradient points along the exact one",
    "projection": "its length along the exact one; 1: just as long",
    "signal_to_noise": "of the gradient: squared length of its expectation over its variance",
    "snr": "the same in decibels",
    "gain": "of the expected return by one step, over that of a step along the exact gradient",
    "harm": "share of losses in these gains",
    "env_steps": "in a batch, forks included",
    "left_out": "share of tokens left out of bias and variance, since only one batch has them",
}


def lines(scores: Record) -> list[Record]:
    """Returns a line for each measure: its name, its value with the standard error, its meaning."""
    return [
        {"measure": name, "value": value(scores, name), "": meaning}
        for name, meaning in MEANING.items()
        if name in scores
    ]


def value(scores: Record, name: str) -> str:
    """Returns the measure to three decimals or digits, and its standard error.

    >>> value({"gain": 0.51234, "gain_se": 0.042}, "gain")
    '0.512 ± 0.042'
    >>> value({"env_steps": 1530.25}, "env_steps")
    '1,530'
    """
    number, error = scores[name], scores.get(f"{name}_se", float("nan"))
    shown = f"{number:.3f}" if abs(number) < 100 else f"{number:,.0f}"
    return shown if isnan(error) else f"{shown} ± {error:.3f}"
