"""Credit for progress, against its defining sum."""

import numpy as np

from agentic_rl.credit.group import LeaveOneOut
from agentic_rl.credit.process import ProcessAdvantage
from tests.batches import T, returns, trajectory
from tests.credits import agrees, credited, others, same


def test_process_advantage_adds_what_the_expert_would_call_progress_to_leave_one_out():
    made, total = trajectory(), returns(trajectory())

    def expected(i, places, gain):
        alone = total[i] - np.mean([total[j] for j in others(i)])
        turn_gain = [sum(g for (t, _), g in zip(places, gain) if t == k) for k in range(T)]
        potential = [*made.potential[i][: 1 + places[-1][0]], 0.0]
        return [alone + 0.3 * (turn_gain[t] + potential[t + 1] - potential[t]) for t, _ in places]

    agrees(ProcessAdvantage(alpha=0.3), made, expected)


def test_process_advantage_with_alpha_0_is_leave_one_out():
    same(ProcessAdvantage(alpha=0.0), LeaveOneOut())
    assert (
        np.abs(
            credited(ProcessAdvantage(alpha=1.0), trajectory())
            - credited(LeaveOneOut(), trajectory())
        ).max()
        > 0.1
    )
