"""Every task refuses knobs out of range, in a sentence that names the knob and its value."""

import pytest

from agentic_rl.config import ConfigError
from agentic_rl.envs.chain_pit import ChainPit
from agentic_rl.envs.compose import Compose
from agentic_rl.envs.deep_sea import DeepSea
from agentic_rl.envs.fix_it import FixIt
from agentic_rl.envs.frozen_lake import FrozenLake
from agentic_rl.envs.graph_nav import GraphNav
from agentic_rl.envs.hanoi import Hanoi
from agentic_rl.envs.key_door import KeyDoor
from agentic_rl.envs.micro import Memorize, NoisyVerifier, TwoPrompt
from agentic_rl.envs.path_star import PathStar
from agentic_rl.envs.points import Points
from agentic_rl.envs.running_sum import RunningSum
from agentic_rl.envs.sokoban import Sokoban
from agentic_rl.envs.sort_digits import SortDigits
from agentic_rl.envs.todo import Todo
from agentic_rl.envs.tool_chase import ToolChase
from agentic_rl.envs.wait_chain import WaitChain

OUT_OF_RANGE = {
    ChainPit: {"num_turns": [0], "num_values": [1], "recovery_turns": [0]},
    Compose: {"depth": [0], "length": [1, 9]},
    DeepSea: {"size": [1, 101], "move_cost": [1.0, -0.1]},
    FixIt: {"num_digits": [0, 17], "modulus": [17], "slip": [1.0], "check_cost": [-0.1, 0.16]},
    FrozenLake: {"size": [1, 17], "num_turns": [5], "hole": [1.5], "slip": [-0.1]},
    GraphNav: {
        "num_nodes": [17],
        "num_turns": [6],
        "num_loops": [-1],
        "num_pits": [5],
        "num_rooms": [5],
        "slip": [2.0],
    },
    Hanoi: {"num_disks": [0, 11], "slack": [-1]},
    KeyDoor: {"delay": [-1], "num_keys": [4]},
    Memorize: {"num_digits": [0], "base": [17], "num_problems": [17]},
    NoisyVerifier: {"num_modes": [1], "true_positive": [1.5], "false_positive": [-0.5]},
    PathStar: {"arms": [1], "length": [0], "num_labels": [9, 49]},
    Points: {"num_cards": [2, 5], "num_turns": [2]},
    RunningSum: {"num_turns": [0], "modulus": [17], "numbers_per_turn": [0]},
    Sokoban: {"size": [4, 19], "num_walls": [14], "num_turns": [0]},
    SortDigits: {"num_digits": [0], "base": [17], "answer_length": [3]},
    Todo: {
        "num_items": [9, 1],
        "steps": [0],
        "slack": [-1],
        "max_replan": [16],
        "turn_cost": [0.5],
    },
    ToolChase: {
        "num_entries": [17],
        "depth": [0, 8],
        "num_turns": [2],
        "failure": [1.5],
        "call_cost": [0.5],
    },
    TwoPrompt: {"num_choices": [17], "easy": [17], "hard": [0]},
    WaitChain: {"num_turns": [1]},
}
CASES = [
    (cls, knob, value)
    for cls, knobs in OUT_OF_RANGE.items()
    for knob, values in knobs.items()
    for value in values
]


@pytest.mark.parametrize("cls, knob, value", CASES)
def test_a_knob_out_of_range_is_refused(cls, knob, value):
    with pytest.raises(ConfigError, match=rf"{knob} .*not {value:g}\.$"):
        cls(**{knob: value})


def test_pairs_can_only_be_held_out_from_two_functions_on():
    with pytest.raises(ConfigError, match=r"depth .*not 1\.$"):
        Compose(depth=1, held_out=True)
