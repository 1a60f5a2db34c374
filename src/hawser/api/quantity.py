"""resource.Quantity: numbers with a suffix, as Kubernetes reads and writes them.

Source: API reference, "Quantity" (grammar, canonical form, rounding rules): no number is stored with more precision
than nano, rounding goes away from zero, and the suffix family that was written is the one that is written back.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from decimal import ROUND_CEILING, ROUND_UP, Context, Decimal
from enum import StrEnum

WRONG_FORMAT = "quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'"
WRONG_NUMBER = "unable to parse numeric part of quantity"
WRONG_SUFFIX = "unable to parse quantity's suffix"

_FORM = re.compile(r"([+-]?[0-9]*(?:\.[0-9]*)?)([eEinumkKMGTP]*[-+]?[0-9]*)", re.ASCII)
_DECIMAL = {"n": -9, "u": -6, "m": -3, "": 0, "k": 3, "M": 6, "G": 9, "T": 12, "P": 15, "E": 18}
_BINARY = {"Ki": 1, "Mi": 2, "Gi": 3, "Ti": 4, "Pi": 5, "Ei": 6}
_DECIMAL_SUFFIX = {exponent: suffix for suffix, exponent in _DECIMAL.items()}
_BINARY_SUFFIX = {0: "", **{power: suffix for suffix, power in _BINARY.items()}}
_BINARY_MAX = Decimal(2**63 - 1)
_NANO = Decimal("1e-9")
# An exponent this large is no resource of any machine; without a bound, "1e999999999" would be a number to expand.
_MAX_EXPONENT = 99
_MATH = Context(prec=400)

Number = str | int | float | Decimal
"""What stands for a quantity: its text, or a plain JSON number."""


class Format(StrEnum):
    """The suffix family of a quantity."""

    DECIMAL = "DecimalSI"
    BINARY = "BinarySI"
    EXPONENT = "DecimalExponent"


@dataclass(frozen=True, slots=True)
class Quantity:
    """An amount and the suffix family it was written in; ``str()`` is the canonical form."""

    amount: Decimal
    format: Format = Format.DECIMAL

    @classmethod
    def parse(cls, text: Number) -> Quantity:
        """Read a quantity. ValueError, in Kubernetes' words, when it is none."""
        written = _text(text)
        form = _FORM.fullmatch(written) if written else None
        if form is None:
            raise ValueError(WRONG_FORMAT)
        number, suffix = form.groups()
        scale, family = _suffix(suffix)
        if not any(c.isdigit() for c in number):
            raise ValueError(WRONG_NUMBER)
        amount = _MATH.multiply(Decimal(number), scale)
        if amount.as_tuple().exponent < -9:  # type: ignore[operator]  # finite: the grammar has no NaN or infinity
            amount = amount.quantize(_NANO, ROUND_UP, _MATH)
        if family is Format.BINARY:
            amount = min(amount, _BINARY_MAX)
            if 0 < amount < 1:
                family = Format.DECIMAL
        return cls(amount, family)

    def __str__(self) -> str:
        family = self.format
        if family is Format.BINARY and -1024 < self.amount < 1024:
            family = Format.DECIMAL
        if family is Format.BINARY:
            mantissa, power = _factor(int(self.amount.to_integral_value(ROUND_UP)), 1024, 1, 6)
            return f"{mantissa}{_BINARY_SUFFIX[power]}"
        nano = int(_MATH.multiply(self.amount, Decimal(10**9)))
        if nano == 0:
            return "0"
        mantissa, exponent = _factor(nano, 1000, 3, 27 if family is Format.DECIMAL else 3 * _MAX_EXPONENT)
        exponent -= 9
        if family is Format.DECIMAL:
            return f"{mantissa}{_DECIMAL_SUFFIX[exponent]}"
        return f"{mantissa}e{exponent}" if exponent else str(mantissa)

    def __lt__(self, other: Quantity) -> bool:
        return self.amount < other.amount

    def __add__(self, other: Quantity) -> Quantity:
        """The sum, in this quantity's family; zero takes the other's family."""
        return Quantity(_MATH.add(self.amount, other.amount), self.format if self.amount else other.format)

    def __sub__(self, other: Quantity) -> Quantity:
        """The difference, in this quantity's family; zero takes the other's family."""
        return Quantity(_MATH.subtract(self.amount, other.amount), self.format if self.amount else other.format)


def _text(value: Number) -> str:
    if isinstance(value, bool) or not isinstance(value, str | int | float | Decimal):
        raise ValueError(WRONG_FORMAT)
    return value.strip() if isinstance(value, str) else str(value)


def _suffix(suffix: str) -> tuple[Decimal, Format]:
    """The factor and the family that a suffix stands for."""
    if suffix in _DECIMAL:
        return Decimal(10) ** _DECIMAL[suffix], Format.DECIMAL
    if suffix in _BINARY:
        return Decimal(1024 ** _BINARY[suffix]), Format.BINARY
    if suffix[0] in "eE" and re.fullmatch(r"[+-]?[0-9]+", suffix[1:]):
        exponent = int(suffix[1:])
        if abs(exponent) <= _MAX_EXPONENT:
            return Decimal(10) ** exponent, Format.EXPONENT
    raise ValueError(WRONG_SUFFIX)


def _factor(number: int, base: int, step: int, limit: int) -> tuple[int, int]:
    """number as (mantissa, exponent) with as many factors of base as limit allows taken out of the mantissa."""
    exponent = 0
    while exponent < limit and number % base == 0:
        number //= base
        exponent += step
    return number, exponent


def parse_quantity(text: Number) -> Decimal:
    """The amount of a quantity, in its base unit (cores, bytes, pieces). ValueError, in Kubernetes' words."""
    return Quantity.parse(text).amount


def milli(text: Number) -> int:
    """The amount in thousandths, rounded up: CPU millicores."""
    return int(_MATH.multiply(parse_quantity(text), Decimal(1000)).to_integral_value(ROUND_CEILING))


def to_bytes(text: Number) -> int:
    """The amount in whole units, rounded up: bytes, or pieces."""
    return int(parse_quantity(text).to_integral_value(ROUND_CEILING))


def canonical(text: Number) -> str:
    """The form the API server writes back: ``1000m`` is ``1``, ``1024Mi`` is ``1Gi``, ``0.5`` is ``500m``."""
    return str(Quantity.parse(text))


def format_quantity(amount: Decimal | int, family: Format = Format.DECIMAL) -> str:
    """The canonical text of an amount in base units, with the suffixes of family."""
    return str(Quantity(Decimal(amount), family))


def compare(left: Number, right: Number) -> int:
    """-1, 0 or 1 as left is smaller than, equal to or larger than right."""
    a, b = parse_quantity(left), parse_quantity(right)
    return (a > b) - (a < b)


def add(left: Number, right: Number) -> str:
    """The canonical text of the sum, in left's suffix family (right's when left is zero)."""
    return str(Quantity.parse(left) + Quantity.parse(right))


def subtract(left: Number, right: Number) -> str:
    """The canonical text of the difference, in left's suffix family (right's when left is zero)."""
    return str(Quantity.parse(left) - Quantity.parse(right))
