"""RunningSum: its horizon. The contract tests cover its rewards and judges."""

from agentic_rl.envs.running_sum import RunningSum


def test_longer_multiplies_the_turns():
    assert RunningSum(num_turns=3).longer(2).spec.num_turns == 6
