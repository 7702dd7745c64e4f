"""Words change places as the prompt says, and each rule of the study gives each verdict."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from agentic_rl import tokens
from agentic_rl.config import ConfigError
from agentic_rl.envs.tool_chase import ToolChase
from agentic_rl.rollout.actors import Expert
from agentic_rl.rollout.rollout import rollout
from experiments.studies.rule_shift import (
    ARMS,
    MORE,
    SHIFTED,
    SHOWN,
    RuleShift,
    task_under,
    when_fluent,
)


def episodes(task):
    return rollout(task, Expert(), jax.random.key(0), jnp.arange(64))


@pytest.mark.parametrize("words, renamed", [(SHOWN, False), (SHIFTED, True)])
def test_the_shown_rule_is_the_plain_task_and_the_shifted_one_swaps_words(words, renamed):
    reworded = episodes(task_under(words))
    plain = episodes(ToolChase(depth=1, num_turns=3, failure=0.0, renamed=renamed))
    for name in ("prompt", "action", "observation", "reward"):
        np.testing.assert_array_equal(getattr(reworded, name), getattr(plain, name))


@pytest.mark.parametrize("words", [SHOWN, SHIFTED, *MORE])
def test_every_prompt_says_its_words_and_the_expert_uses_them(words):
    shown = episodes(task_under(words))
    assert (shown.prompt[..., 2:4] == jnp.array(words)).all() and shown.success.all()
    first, second = shown.action[:, 0, 0, 0], shown.action[:, 0, 1, 0]
    assert (first == words[0]).all() and (second == words[1]).all()
    assert sorted(task_under(words)._new.tolist()) == list(range(tokens.VOCABULARY))


def test_other_rules_share_words_in_role_only_with_the_shifted_rule():
    for words in MORE:
        assert all(word != shown for word, shown in zip(words, SHOWN, strict=True))
    for role in (0, 1):
        assert SHIFTED[role] in {words[role] for words in MORE}
    assert SHIFTED not in MORE


def make_records(sft=0.1, rules=0.6, rloo=0.6, after=0.1, early=0.5):
    """Returns records that start from .5 under the shifted rule.

    The arms end at the success given; `early` is that at update 10, when sft is fluent.
    """
    end = dict(sft=sft, sft_rules=rules, rloo=rloo, sft_rloo=after)
    records = []
    for i, arm in enumerate(ARMS):
        for seed in range(5):
            noise = 0.003 * (seed - 2) * (1 + i)
            success = {
                0: (0.5, 0.5 + 0.01 * seed),
                10: (0.95, early),
                60: (1.0, end[arm] + noise),
            }
            for update, (shown, shifted) in success.items():
                records.append(
                    dict(arm=arm, seed=seed, update=update, shown=shown, shifted=shifted)
                )
    return records


def outcomes(**changes):
    return [v.outcome for v in RuleShift().verdicts(make_records(**changes))]


def test_each_rule_gives_each_of_its_verdicts():
    assert outcomes() == ["supported"] * 6
    assert outcomes(sft=0.7, rules=0.3, rloo=0.3, after=0.3, early=0.4) == ["falsified"] * 6
    assert (
        outcomes(sft=0.52, rules=0.49, rloo=0.47, after=0.47, early=0.52)[:2]
        == ["inconclusive"] * 2
    )
    assert outcomes(sft=0.5, rloo=0.5, rules=0.5, early=0.5)[2:5] == ["inconclusive"] * 3
    assert outcomes(sft=0.5, after=0.55)[5] == "inconclusive"


def test_arms_that_were_left_out_are_not_judged():
    some = [r for r in make_records() if r["arm"] in ("sft", "rloo")]
    assert len(RuleShift(arms=("sft", "rloo")).verdicts(some)) == 4


def test_the_first_fluent_look_counts_or_else_the_last():
    looks = [
        (0, 0, 0.2, 0.5),
        (0, 10, 0.95, 0.4),
        (0, 20, 1.0, 0.3),
        (1, 0, 0.2, 0.6),
        (1, 10, 0.5, 0.7),
        (1, 20, 0.6, 0.1),
    ]
    names = ("seed", "update", "shown", "shifted")
    records = [dict(zip(names, look, strict=True)) for look in looks]
    np.testing.assert_array_equal(when_fluent(records), [0.4, 0.1])


@pytest.mark.parametrize(
    "flags, words",
    [
        (dict(arms=("sft", "rlo")), "did you mean rloo"),
        (dict(arms=("sft",)), "leave them in --arms"),
        (dict(looks=7), "looks must divide updates"),
        (dict(clone_updates=0), "clone_updates must be 1 or more"),
    ],
)
def test_flags_out_of_range_are_refused(flags, words):
    with pytest.raises(ConfigError, match=words):
        RuleShift(**flags)
