"""The layers of both packages. test_house.py checks imports, and test_design.py draws them."""

# The layers of each package, from the bottom. A room is a folder, or a file on top. It may import
# from its own layer and from those below.
LAYERS = {
    "agentic_rl": (
        {"__init__", "config", "types", "tokens", "rng_streams", "budgets", "progress"},
        {"envs", "policy", "credit", "losses", "optimizer", "metrics", "problems", "parallel"},
        {"records", "rewards", "selection", "rollout"},
        {"exact"},
        {"values"},
        {"algorithms"},
        {"presets", "training"},
        {"__main__"},
    ),
    "experiments": (
        {"__init__", "own_data", "reports"},
        {"cli", "ground_truth"},
        {"harness"},
        {"train", "evaluate", "compare", "watch", "inspect_episode", "sl_vs_rl"},
        {"pages"},
        {"studies"},
        {"reproduce"},
        {"programs"},
    ),
}
