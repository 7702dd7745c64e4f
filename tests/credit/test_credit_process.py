"""The credit for progress against its defining sum."""

import numpy as np

from agentic_rl.credit.group import LeaveOneOut
from agentic_rl.credit.process import ProcessAdvantage
from tests.batches import T, returns, trajectory
from tests.credits import assert_credit, assert_equal_credits, compute_credit, other_attempts


def test_process_advantage_adds_the_expert_s_progress_to_leave_one_out():
    batch, total = trajectory(), returns(trajectory())

    def expected(i, places, gain):
        alone = total[i] - np.mean([total[j] for j in other_attempts(i)])
        turn_gain = [sum(g for (t, _), g in zip(places, gain) if t == k) for k in range(T)]
        potential = [*batch.potential[i][: 1 + places[-1][0]], 0.0]
        return [alone + 0.3 * (turn_gain[t] + potential[t + 1] - potential[t]) for t, _ in places]

    assert_credit(ProcessAdvantage(alpha=0.3), batch, expected)


def test_process_advantage_with_alpha_0_is_leave_one_out():
    assert_equal_credits(ProcessAdvantage(alpha=0.0), LeaveOneOut())
    assert (
        np.abs(
            compute_credit(ProcessAdvantage(alpha=1.0), trajectory())
            - compute_credit(LeaveOneOut(), trajectory())
        ).max()
        > 0.1
    )
