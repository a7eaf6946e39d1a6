"""EdDSA on the curve Ed25519 (RFC 8032, section 5.1; RFC 8037): whether a signature is genuine.

The curve is -x^2 + y^2 = 1 + d x^2 y^2 modulo p. Points are computed with in extended coordinates, (X, Y, Z, T) for x = X / Z, y = Y / Z and x y = T / Z; the formulas
(section 5.1.4) hold for all of them. What is encoded twofold is refused: S from the order of the group on, coordinates from p on (section 5.1.7, and 5.1.3).
"""

from hashlib import sha512

from jws_multiples import Table, columns, odd_multiples, rows, step_for

Extended = tuple[int, int, int, int]

SIZE = 32
"""Bytes of a key, and of each half of a signature."""
_P = (1 << 255) - 19
_ORDER = (1 << 252) + 27742317777372353535851937790883648493
_D = -121665 * pow(121666, -1, _P) % _P
_TWO_D = 2 * _D % _P
_ROOT_OF_MINUS_1 = pow(2, (_P - 1) // 4, _P)
_STEP = step_for(_ORDER.bit_length())
_IDENTITY: Extended = (0, 1, 1, 0)
_GENERATOR_WIDTH = 7
_KEY_WIDTH = 5


class Point:
    """A point on the curve, with a table of its multiples, which is made when it is first needed."""

    __slots__ = ("_table", "width", "x", "y")

    def __init__(self, x: int, y: int, width: int = _KEY_WIDTH) -> None:
        self.x = x
        self.y = y
        self.width = width
        self._table: Table | None = None

    def table(self) -> Table:
        """For each point y + x, y - x and 2 d x y; their numbers in a row are those of `width`."""
        if self._table is None:
            multiples = odd_multiples(self._extended(), self.width, _STEP, _add, _double)
            self._table = rows(_prepared(multiples))
        return self._table

    def has_small_order(self) -> bool:
        """Whether it is among the eight points that are no good as keys: anybody can sign for them."""
        x, y, z, _ = _double(_double(_double(self._extended())))
        return x == 0 and y == z

    def negative(self) -> "Point":
        """-P."""
        return Point(-self.x % _P, self.y, self.width)

    def _extended(self) -> Extended:
        return self.x, self.y, 1, self.x * self.y % _P


def decode(encoded: bytes) -> Point | None:
    """The point that these 32 bytes stand for, or `None` where they stand for none (RFC 8032, section 5.1.3)."""
    number = int.from_bytes(encoded, "little")
    y, sign = number & ((1 << 255) - 1), number >> 255
    if y >= _P:
        return None
    square = y * y % _P
    u, v = square - 1, _D * square + 1
    x = u * pow(v, 3, _P) * pow(u * pow(v, 7, _P), (_P - 5) // 8, _P) % _P
    if (v * x * x - u) % _P != 0:
        x = x * _ROOT_OF_MINUS_1 % _P
        if (v * x * x - u) % _P != 0:
            return None
    if x == 0 and sign:
        return None
    return Point(_P - x if x & 1 != sign else x, y)


def verify(key: bytes, minus_key: Point, text: bytes, signature: bytes) -> bool:
    """Whether `signature` is one of `text` by the owner of `key`, in 32 bytes; `minus_key` is the point on the other side.

    Of the two conditions that section 5.1.7 allows this is the stricter one, without the cofactor: R = S B - k A.
    """
    if len(signature) != 2 * SIZE:
        return False
    r, s = signature[:SIZE], int.from_bytes(signature[SIZE:], "little")
    if s >= _ORDER:
        return False
    k = int.from_bytes(sha512(r + key + text).digest(), "little") % _ORDER
    found = _IDENTITY
    terms = ((s, _GENERATOR.width, _GENERATOR.table()), (k, minus_key.width, minus_key.table()))
    for additions in reversed(columns(_STEP, *terms)):
        found = _double(found)
        for (plus, minus, product), subtract in additions:
            found = (
                _add_prepared(found, minus, plus, -product) if subtract else _add_prepared(found, plus, minus, product)
            )
    return _encode(found) == r


def _encode(point: Extended) -> bytes:
    x, y, z, _ = point
    inverse = pow(z, -1, _P)
    x, y = x * inverse % _P, y * inverse % _P
    return (y | (x & 1) << 255).to_bytes(SIZE, "little")


def _double(point: Extended) -> Extended:
    x, y, z, _ = point
    a, b = x * x % _P, y * y % _P
    h = a + b
    e = h - (x + y) * (x + y) % _P
    g = a - b
    f = 2 * z * z % _P + g
    return e * f % _P, g * h % _P, f * g % _P, e * h % _P


def _add_prepared(point: Extended, plus: int, minus: int, product: int) -> Extended:
    """The sum of `point` and another one with Z = 1, given as in a table."""
    x, y, z, t = point
    return _finish_addition((y - x) * minus % _P, (y + x) * plus % _P, t * product % _P, 2 * z)


def _add(one: Extended, other: Extended) -> Extended:
    (x1, y1, z1, t1), (x2, y2, z2, t2) = one, other
    return _finish_addition((y1 - x1) * (y2 - x2) % _P, (y1 + x1) * (y2 + x2) % _P, t1 * _TWO_D * t2 % _P, 2 * z1 * z2)


def _finish_addition(a: int, b: int, c: int, d: int) -> Extended:
    e, f, g, h = b - a, d - c, d + c, b + a
    return e * f % _P, g * h % _P, f * g % _P, e * h % _P


def _prepared(points: list[Extended]) -> list[tuple[int, ...]]:
    """Them as in a table, with one inversion for all of them (Montgomery's trick)."""
    products = [1]
    for _, _, z, _ in points:
        products.append(products[-1] * z % _P)
    inverse = pow(products[-1], -1, _P)
    found: list[tuple[int, ...]] = []
    for (x, y, z, _), product in zip(reversed(points), reversed(products[:-1]), strict=True):
        one = inverse * product % _P
        inverse = inverse * z % _P
        x, y = x * one % _P, y * one % _P  # noqa: PLW2901 - the same point, in other coordinates
        found.append(((y + x) % _P, (y - x) % _P, _TWO_D * x * y % _P))
    found.reverse()
    return found


_GENERATOR = Point(
    15112221349535400772501151409588531511454012693041857206046113283949847762202,
    46316835694926478169428394003475163141307993866256225615783033603165251855960,
    _GENERATOR_WIDTH,
)
