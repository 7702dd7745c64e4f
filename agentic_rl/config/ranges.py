"""Ranges of numbers, declared with a field's type: `learning_rate: Positive = 3e-4`.

Numbers are checked when a config is made (`config.checked`), so that a mistake is reported before
anything is compiled or written. Tracers and arrays are not checked, since a compiled program may
sweep over values. NaN lies in no range, and infinity only in one that allows it.
"""

import dataclasses
from functools import cache
from math import inf, isfinite, isnan
from numbers import Integral, Real
from typing import Annotated, Any, get_args, get_origin

import numpy as np

LARGEST_INT = 2**31 - 1
LARGEST_FLOAT = float(np.finfo(np.float32).max)  # larger numbers are infinite on a device


class ConfigError(ValueError):
    """A user's mistake, in one sentence that says what to do."""


@dataclasses.dataclass(frozen=True)
class Range:
    """The finite numbers from `low` to `high` (inclusive), above `above` and below `below`.

    With `infinite`, infinity belongs to the range too.
    """

    low: Real = -inf
    high: Real = inf
    above: Real = -inf
    below: Real = inf
    infinite: bool = False
    why: str = ""  # a remark for whoever left the range

    def __contains__(self, x: Real) -> bool:
        if self.infinite and x == inf:
            return True
        is_finite = abs(x) <= _largest(x)
        return is_finite and self.low <= x <= self.high and self.above < x < self.below

    def words(self, x: Real) -> str:
        """Returns what a number should be instead of `x`, which is out of range.

        >>> Range(0, 1).words(2), Range(above=0, high=1).words(0.0), Range(above=0).words(inf)
        ('0 to 1', 'above 0 and at most 1', 'above 0 and finite')
        """
        if isfinite(self.low) and isfinite(self.high):
            words = f"{self.low} to {self.high}"
        else:
            words = " and ".join(word for word in (self._lower(), self._upper(x)) if word)
        return f"{words} ({self.why})" if self.why else words

    def _lower(self) -> str:
        if isfinite(self.above):
            return f"above {self.above}"
        return f"{self.low} or more" if isfinite(self.low) else ""

    def _upper(self, x: Real) -> str:
        if isfinite(self.below):
            return f"below {self.below}"
        return f"at most {self.high}" if isfinite(self.high) else self._device_limit(x)

    def _device_limit(self, x: Real) -> str:
        """Returns the limit that a device sets, or "" if `x` is out of range for another reason."""
        if not isfinite(x):
            return "" if self.infinite else "finite"
        return f"at most {_largest(x):.10g}" if abs(x) > _largest(x) else ""


def _largest(x: Real) -> Real:
    return LARGEST_INT if isinstance(x, Integral) else LARGEST_FLOAT


Finite = Annotated[float, Range()]
Positive = Annotated[float, Range(above=0)]
NonNegative = Annotated[float, Range(0)]
Probability = Annotated[float, Range(0, 1, why="a probability")]
Fraction = Annotated[float, Range(above=0, high=1)]
Inside = Annotated[float, Range(above=0, below=1)]  # between 0 and 1, neither of them
Memory = Annotated[float, Range(0, below=1)]  # the weight of the past in a running mean
Weight = Annotated[float, Range(0, 1)]  # a discount, or a λ
Bound = Annotated[float, Range(above=0, infinite=True)]  # inf: no bound
Distance = Annotated[float, Range(0, infinite=True)]  # from the middle to a bound; inf: no bound
Count = Annotated[int, Range(1)]
Several = Annotated[int, Range(2)]
OneToken = Annotated[int, Range(2, 16, why="each is one token")]
Natural = Annotated[int, Range(0)]
Seed = Annotated[int, Range(0, LARGEST_INT)]


def kind(annotation: Any) -> Any:
    """Returns a field's type without its annotations.

    >>> kind(Positive), kind(int)
    (<class 'float'>, <class 'int'>)
    """
    return get_args(annotation)[0] if get_origin(annotation) is Annotated else annotation


def declared_range(annotation: Any) -> Range | None:
    """Returns the range of a type or of a tuple's elements, or None if it declares none."""
    if get_origin(annotation) is Annotated:
        ranges = [x for x in annotation.__metadata__ if isinstance(x, Range)]
        return ranges[0] if ranges else declared_range(kind(annotation))
    return declared_range(get_args(annotation)[0]) if get_origin(annotation) is tuple else None


def number(annotation: Any) -> type | None:
    """Returns int or float if a field holds such a number or a tuple of them, else None."""
    inner = kind(annotation)
    inner = kind(get_args(inner)[0]) if get_origin(inner) is tuple else inner
    return inner if inner in (int, float) else None


@cache
def _ranges(cls: type) -> dict[str, tuple[type, Range]]:
    ranges = {}
    for field in dataclasses.fields(cls):
        number_type, declared = number(field.type), declared_range(field.type)
        if number_type and declared:
            ranges[field.name] = number_type, declared
    return ranges


def check_ranges(config: Any) -> None:
    """Checks that a dataclass's own numbers are in their declared ranges; nested ones check theirs.

    Raises: ConfigError with the field, its range and the number.
    """
    for name, (number_type, declared) in _ranges(type(config)).items():
        value = getattr(config, name)
        for x in value if isinstance(value, tuple) else (value,):
            fits_type = number_type is float or isinstance(x, Integral)
            if isinstance(x, Real) and not (fits_type and x in declared):
                words = declared.words(x) if fits_type else "a whole number"
                each = "each " * isinstance(value, tuple)
                raise ConfigError(f"{name} must {each}be {words}, not {_format_number(x)}.")


def _format_number(x: Real) -> str:
    return str(x) if isinstance(x, Integral) or isnan(x) else f"{float(x):g}"
