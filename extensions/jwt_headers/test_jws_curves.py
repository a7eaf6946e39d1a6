"""Points on curves: their multiples, and sums at which the usual formula fails."""

from itertools import pairwise

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from hypothesis import given
from hypothesis import strategies as st
from jws_ecdsa import CURVES, Curve, Point, verify
from jws_multiples import ROWS, signed_digits, step_for

OF_CRYPTOGRAPHY = {"P-256": ec.SECP256R1(), "P-384": ec.SECP384R1(), "P-521": ec.SECP521R1()}


@pytest.fixture(params=list(CURVES))
def curve(request: pytest.FixtureRequest) -> Curve:
    return CURVES[request.param]


def multiple(curve: Curve, scalar: int) -> tuple[int, int]:
    """Of the generator, as `cryptography` has it."""
    numbers = ec.derive_private_key(scalar % curve.order, OF_CRYPTOGRAPHY[curve.name]).public_key().public_numbers()
    return numbers.x, numbers.y


def number(curve: Curve, value: int) -> bytes:
    """Half of a signature."""
    return value.to_bytes(curve.size, "big")


def digest(curve: Curve, e: int) -> bytes:
    """One whose first bits, as many as the curve's order has, are this number."""
    return (e << (8 * curve.size - curve.order.bit_length())).to_bytes(curve.size, "big")


@given(scalar=st.integers(0, 1 << 521), width=st.integers(2, 9))
def test_the_digits_of_a_number_are_odd_small_and_far_apart(scalar: int, width: int) -> None:
    digits = list(signed_digits(scalar, width))
    assert sum(digit << position for position, digit in digits) == scalar
    assert all(digit % 2 and abs(digit) < 1 << (width - 1) for _, digit in digits)
    positions = [position for position, _ in digits]
    assert all(after - before >= width for before, after in pairwise(positions))
    assert all(position < ROWS * step_for(scalar.bit_length()) for position in positions)


def test_a_table_holds_the_odd_multiples_of_its_rows(curve: Curve) -> None:
    for scalar in (1, 5, curve.order - 3):
        table = Point(curve, *multiple(curve, scalar), 4).table()
        assert [len(row) for row in table] == [4] * ROWS
        for place, row in enumerate(table):
            for odd, point in zip((1, 3, 5, 7), row, strict=True):
                assert point == multiple(curve, odd * scalar << (place * curve.step))


def test_the_sum_of_equal_points_is_found(curve: Curve) -> None:
    """R = G + Q, with Q = G."""
    r = multiple(curve, 2)[0] % curve.order
    generator = Point(curve, *multiple(curve, 1))
    signature = number(curve, r) * 2
    assert verify(generator, digest(curve, r), signature) is True
    assert verify(generator, digest(curve, r + 1), signature) is False


def test_the_sum_of_opposite_points_is_no_signature(curve: Curve) -> None:
    """R = G + Q, with Q = -G, is infinity."""
    opposite = Point(curve, *multiple(curve, -1))
    for r in (1, 2, curve.order - 1):
        assert verify(opposite, digest(curve, r), number(curve, r) * 2) is False


def test_a_signature_has_exactly_its_size(curve: Curve) -> None:
    r = multiple(curve, 2)[0] % curve.order
    generator = Point(curve, *multiple(curve, 1))
    for changed in (
        b"",
        number(curve, r),
        number(curve, r) * 2 + b"\0",
        b"\0" + number(curve, r) * 2,
        number(curve, r) * 3,
    ):
        assert verify(generator, digest(curve, r), changed) is False
