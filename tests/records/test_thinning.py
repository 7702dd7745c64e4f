"""Thinned logs are spread evenly."""

from agentic_rl.records.thinning import thin


def test_thinned_entries_are_spread_evenly_and_keep_every_kind():
    entries = [{"step": i} | ({"eval_success": 1.0} if i % 10 == 0 else {}) for i in range(10_001)]
    kept = thin(iter(entries), most=100)
    steps = [entry["step"] for entry in kept]
    evaluated = [entry["step"] for entry in kept if "eval_success" in entry]
    assert (
        steps == sorted(set(steps))
        and steps[0] == 0
        and steps[-1] == 10_000
        and 100 <= len(steps) <= 202
    )
    assert (
        len(evaluated) >= 50 and len({b - a for a, b in zip(evaluated[:-1], evaluated[1:-1])}) == 1
    )
