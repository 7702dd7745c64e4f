"""Which numbers a field may have, declared with its type: `learning_rate: Positive = 3e-4`.

Numbers are checked where a config is made (`config.checked`), so that a mistake is told before anything is compiled or written.
Tracers and arrays pass: a compiled program may sweep over values. NaN lies in no range, and infinity only where that is declared.
"""

import dataclasses
from functools import cache
from math import inf, isfinite, isnan
from numbers import Integral, Real
from typing import Annotated, Any, get_args, get_origin

import numpy as np

LARGEST_INT = 2**31 - 1
LARGEST_FLOAT = float(np.finfo(np.float32).max)  # what is larger is infinite on a device


class ConfigError(ValueError):
    """A user's mistake, said in one sentence that tells what to do."""


@dataclasses.dataclass(frozen=True)
class Range:
    """The numbers from `low` to `high` (both included) that are above `above` and below `below`; finite unless `infinite`."""

    low: Real = -inf
    high: Real = inf
    above: Real = -inf
    below: Real = inf
    infinite: bool = False
    why: str = ""  # a remark for those who left the range

    def __contains__(self, x: Real) -> bool:
        is_finite = abs(x) <= (LARGEST_INT if isinstance(x, Integral) else LARGEST_FLOAT)
        if self.infinite and x == inf:
            return True
        return is_finite and self.low <= x <= self.high and self.above < x < self.below

    def words(self, x: Real) -> str:
        """What `x`, which is outside, should have been.

        >>> Range(0, 1).words(2), Range(1).words(0), Range(above=0, high=1).words(0.0), Range(above=0).words(inf)
        ('0 to 1', '1 or more', 'above 0 and at most 1', 'above 0 and finite')
        """
        lower = (
            f"above {self.above}"
            if isfinite(self.above)
            else f"{self.low} or more" * isfinite(self.low)
        )
        upper = (
            f"below {self.below}"
            if isfinite(self.below)
            else f"at most {self.high}"
            if isfinite(self.high)
            else self._limit(x)
        )
        both = " and ".join(word for word in (lower, upper) if word)
        closed = isfinite(self.low) and isfinite(self.high)
        return (f"{self.low} to {self.high}" if closed else both) + f" ({self.why})" * bool(
            self.why
        )

    def _limit(self, x: Real) -> str:
        """The limit that a device sets, if that is why `x` is outside."""
        if not isfinite(x):
            return "" if self.infinite else "finite"
        largest = LARGEST_INT if isinstance(x, Integral) else LARGEST_FLOAT
        return f"at most {largest:.10g}" if abs(x) > largest else ""


Finite = Annotated[float, Range()]
Positive = Annotated[float, Range(above=0)]
NonNegative = Annotated[float, Range(0)]
Probability = Annotated[float, Range(0, 1, why="a probability")]
Fraction = Annotated[float, Range(above=0, high=1)]
Inside = Annotated[float, Range(above=0, below=1)]  # between 0 and 1, neither of them
Memory = Annotated[float, Range(0, below=1)]  # of a running mean: the weight of what was
Weight = Annotated[float, Range(0, 1)]  # a discount, or a λ
Bound = Annotated[float, Range(above=0, infinite=True)]  # inf: none
Distance = Annotated[float, Range(0, infinite=True)]  # of a bound from its middle; inf: no bound
Count = Annotated[int, Range(1)]
Several = Annotated[int, Range(2)]
OneToken = Annotated[int, Range(2, 16, why="each is one token")]
Natural = Annotated[int, Range(0)]
Seed = Annotated[int, Range(0, LARGEST_INT)]


def kind(annotation: Any) -> Any:
    """The type without what is annotated to it.

    >>> kind(Positive), kind(int)
    (<class 'float'>, <class 'int'>)
    """
    return get_args(annotation)[0] if get_origin(annotation) is Annotated else annotation


def declared_range(annotation: Any) -> Range | None:
    """The range of a type, or of a tuple's elements; None if there is none."""
    if get_origin(annotation) is Annotated:
        return next(
            (x for x in annotation.__metadata__ if isinstance(x, Range)),
            declared_range(kind(annotation)),
        )
    return declared_range(get_args(annotation)[0]) if get_origin(annotation) is tuple else None


def number(annotation: Any) -> type | None:
    """Whether a field holds whole numbers (int), others (float), or none (None), be it one or a tuple of them."""
    inner = kind(annotation)
    inner = kind(get_args(inner)[0]) if get_origin(inner) is tuple else inner
    return inner if inner in (int, float) else None


@cache
def _ranges(cls: type) -> dict[str, tuple[type, Range]]:
    each = {f.name: (number(f.type), declared_range(f.type)) for f in dataclasses.fields(cls)}
    return {name: (of, within) for name, (of, within) in each.items() if of and within}


def check_ranges(config: Any) -> None:
    """Checks that the numbers of a dataclass (not of those in it) are in the ranges that their types declare.

    Raises: ConfigError with the field, its range and the number.
    """
    for name, (of, within) in _ranges(type(config)).items():
        value = getattr(config, name)
        for x in value if isinstance(value, tuple) else (value,):
            whole = of is float or isinstance(x, Integral)
            if isinstance(x, Real) and not (whole and x in within):
                wanted = within.words(x) if whole else "a whole number"
                raise ConfigError(
                    f"{name} must {'each ' * isinstance(value, tuple)}be {wanted}, not {_format_number(x)}."
                )


def _format_number(x: Real) -> str:
    return str(x) if isinstance(x, Integral) or isnan(x) else f"{float(x):g}"
