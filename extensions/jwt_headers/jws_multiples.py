"""Sums of multiples of points, for signatures on curves: u G + v Q, where G is always the same and Q the key's.

Multiplying is adding and doubling. Digits of a scalar that are odd and signed, with at least `width - 1` zeros after each, leave little to add (the "width-w
non-adjacent form"). All scalars share the doublings (Shamir's trick). And since a table holds the multiples not of P alone but of 2^(i * step) P for each of `ROWS` rows,
too, the digits of the upper parts of a scalar are added in the same columns as those of its lowest: `step` doublings do instead of `ROWS` times as many.

Only public values pass through here, so that time may depend on them.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import TypeAlias, TypeVar

_Point = TypeVar("_Point")

ROWS = 4
"""In how many parts a scalar is cut."""

Table: TypeAlias = Sequence[Sequence[tuple[int, ...]]]
"""P, 3 P, 5 P, ... in each row, up to `2 ** (width - 1) - 1`, in coordinates that the curve likes; in row i of 2^(i * step) P."""


def step_for(bits: int) -> int:
    """How many columns scalars of so many bits need: their digits reach one position further than they do."""
    return bits // ROWS + 1


def odd_multiples(
    first: _Point, width: int, step: int, add: Callable[[_Point, _Point], _Point], double: Callable[[_Point], _Point]
) -> list[_Point]:
    """What a table has of the point `first`, row after row."""
    found: list[_Point] = []
    for _ in range(ROWS):
        twice, multiple = double(first), first
        for _ in range(1 << (width - 2)):
            found.append(multiple)
            multiple = add(multiple, twice)
        for _ in range(step):
            first = double(first)
    return found


def rows(points: Sequence[tuple[int, ...]]) -> Table:
    """The table of the points that `odd_multiples` found, once they are in the coordinates that the curve likes."""
    size = len(points) // ROWS
    return [points[start : start + size] for start in range(0, len(points), size)]


def signed_digits(scalar: int, width: int) -> Iterator[tuple[int, int]]:
    """The odd digits below 2^(width - 1) in absolute value, with their positions: the sum of digit * 2^position is `scalar`."""
    modulus = 1 << width
    position = 0
    while scalar:
        zeros = (scalar & -scalar).bit_length() - 1
        scalar >>= zeros
        position += zeros
        digit = scalar & (modulus - 1)
        if digit >> (width - 1):
            digit -= modulus
        yield position, digit
        scalar -= digit


def columns(step: int, *terms: tuple[int, int, Table]) -> list[list[tuple[tuple[int, ...], bool]]]:
    """What to add between doublings, from the lowest column up: the points, and whether to subtract them instead.

    A term is a scalar, the width that the table was made for, and the table of the point that the scalar multiplies.
    """
    found: list[list[tuple[tuple[int, ...], bool]]] = [[] for _ in range(step)]
    for scalar, width, table in terms:
        for position, digit in signed_digits(scalar, width):
            row, column = divmod(position, step)
            found[column].append((table[row][abs(digit) >> 1], digit < 0))
    return found
