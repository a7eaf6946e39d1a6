"""ECDSA on the curves of NIST (FIPS 186-5, section 6.4.2; RFC 7518, section 3.4): whether a signature is genuine.

Points are computed with in Jacobian coordinates, (X, Y, Z) for x = X / Z^2 and y = Y / Z^3, where Z = 0 is the point at infinity; see `jws_multiples` for the rest.
The curves are y^2 = x^3 - 3 x + b modulo p, and all points on them are multiples of the generator, so that a point on the curve is a good key.
"""

from functools import partial

from jws_multiples import Table, columns, odd_multiples, rows, step_for

Jacobian = tuple[int, int, int]

_INFINITY: Jacobian = (1, 1, 0)
_GENERATOR_WIDTH = 7
_KEY_WIDTH = 5


class Curve:
    """A curve by its name in JSON Web Keys: its field, its order, its generator and its object identifier in DER."""

    __slots__ = ("b", "generator", "name", "oid", "order", "p", "size", "step")

    def __init__(self, name: str, oid: bytes, p: int, b: int, order: int, generator: tuple[int, int]) -> None:
        self.name = name
        self.oid = oid
        self.p = p
        self.b = b
        self.order = order
        self.size = (p.bit_length() + 7) // 8
        """Bytes of a coordinate, and of each half of a signature."""
        self.step = step_for(order.bit_length())
        self.generator = Point(self, *generator, _GENERATOR_WIDTH)

    def has(self, x: int, y: int) -> bool:
        """Whether (x, y), each below the field's prime, is a point on the curve."""
        p = self.p
        return x < p and y < p and (y * y - (x * x - 3) * x - self.b) % p == 0


class Point:
    """A point other than infinity, with a table of its multiples, which is made when it is first needed."""

    __slots__ = ("_table", "curve", "width", "x", "y")

    def __init__(self, curve: Curve, x: int, y: int, width: int = _KEY_WIDTH) -> None:
        self.curve = curve
        self.x = x
        self.y = y
        self.width = width
        self._table: Table | None = None

    def table(self) -> Table:
        """Affine points; their numbers in a row are those of `width`."""
        if self._table is None:
            self._table = self._make_table()
        return self._table

    def _make_table(self) -> Table:
        p, step = self.curve.p, self.curve.step
        multiples = odd_multiples((self.x, self.y, 1), self.width, step, partial(_add, p), partial(_double, p))
        return rows(_affine(multiples, p))


def verify(key: Point, digest: bytes, signature: bytes) -> bool:
    """Whether `signature`, r and s one after the other, is one of the text with this digest by the key's owner."""
    curve = key.curve
    size, n, p = curve.size, curve.order, curve.p
    if len(signature) != 2 * size:
        return False
    r, s = int.from_bytes(signature[:size], "big"), int.from_bytes(signature[size:], "big")
    if not (0 < r < n and 0 < s < n):
        return False
    e = int.from_bytes(digest, "big") >> max(0, len(digest) * 8 - n.bit_length())
    inverse = pow(s, -1, n)
    x, _, z = _sum(key, e * inverse % n, r * inverse % n)
    if z == 0:
        return False
    square = z * z % p
    return (r * square - x) % p == 0 or (r + n < p and ((r + n) * square - x) % p == 0)


def _sum(key: Point, u: int, v: int) -> Jacobian:
    """`u` times the generator and `v` times the key."""
    curve = key.curve
    p, generator = curve.p, curve.generator
    terms = ((u, generator.width, generator.table()), (v, key.width, key.table()))
    found = _INFINITY
    for additions in reversed(columns(curve.step, *terms)):
        found = _double(p, found)
        for (x, y), subtract in additions:
            found = _add_affine(p, found, x, p - y if subtract else y)
    return found


def _double(p: int, point: Jacobian) -> Jacobian:
    """dbl-2001-b of the Explicit-Formulas Database; infinity stays."""
    x, y, z = point
    delta = z * z % p
    gamma = y * y % p
    beta = x * gamma % p
    alpha = 3 * (x - delta) * (x + delta) % p
    x = (alpha * alpha - 8 * beta) % p
    return x, (alpha * (4 * beta - x) - 8 * gamma * gamma) % p, 2 * y * z % p


def _add_affine(p: int, point: Jacobian, x2: int, y2: int) -> Jacobian:
    """The sum of `point` and (x2, y2), whichever they are."""
    x1, y1, z1 = point
    if z1 == 0:
        return x2, y2, 1
    square = z1 * z1 % p
    h = (x2 * square - x1) % p
    r = (y2 * square * z1 - y1) % p
    if h == 0:
        return _double(p, point) if r == 0 else _INFINITY
    return _finish_addition(p, x1, y1, z1 * h % p, h, r)


def _add(p: int, one: Jacobian, other: Jacobian) -> Jacobian:
    """The sum of two points that are neither equal nor opposite nor infinity."""
    (x1, y1, z1), (x2, y2, z2) = one, other
    square1, square2 = z1 * z1 % p, z2 * z2 % p
    x1, y1 = x1 * square2 % p, y1 * square2 * z2 % p
    h = (x2 * square1 - x1) % p
    r = (y2 * square1 * z1 - y1) % p
    return _finish_addition(p, x1, y1, z1 * z2 * h % p, h, r)


def _finish_addition(p: int, x1: int, y1: int, z: int, h: int, r: int) -> Jacobian:
    square = h * h % p
    cube = square * h % p
    v = x1 * square % p
    x = (r * r - cube - 2 * v) % p
    return x, (r * (v - x) - y1 * cube) % p, z


def _affine(points: list[Jacobian], p: int) -> list[tuple[int, ...]]:
    """Their x and y, with one inversion for all of them (Montgomery's trick)."""
    products = [1]
    for _, _, z in points:
        products.append(products[-1] * z % p)
    inverse = pow(products[-1], -1, p)
    found: list[tuple[int, ...]] = []
    for (x, y, z), product in zip(reversed(points), reversed(products[:-1]), strict=True):
        one = inverse * product % p
        inverse = inverse * z % p
        square = one * one % p
        found.append((x * square % p, y * square * one % p))
    found.reverse()
    return found


P256 = Curve(
    "P-256",
    bytes.fromhex("06082a8648ce3d030107"),
    0xFFFFFFFF00000001000000000000000000000000FFFFFFFFFFFFFFFFFFFFFFFF,
    0x5AC635D8AA3A93E7B3EBBD55769886BC651D06B0CC53B0F63BCE3C3E27D2604B,
    0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551,
    (
        0x6B17D1F2E12C4247F8BCE6E563A440F277037D812DEB33A0F4A13945D898C296,
        0x4FE342E2FE1A7F9B8EE7EB4A7C0F9E162BCE33576B315ECECBB6406837BF51F5,
    ),
)
P384 = Curve(
    "P-384",
    bytes.fromhex("06052b81040022"),
    0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEFFFFFFFF0000000000000000FFFFFFFF,
    0xB3312FA7E23EE7E4988E056BE3F82D19181D9C6EFE8141120314088F5013875AC656398D8A2ED19D2A85C8EDD3EC2AEF,
    0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFC7634D81F4372DDF581A0DB248B0A77AECEC196ACCC52973,
    (
        0xAA87CA22BE8B05378EB1C71EF320AD746E1D3B628BA79B9859F741E082542A385502F25DBF55296C3A545E3872760AB7,
        0x3617DE4A96262C6F5D9E98BF9292DC29F8F41DBD289A147CE9DA3113B5F0B8C00A60B1CE1D7E819D7A431D7C90EA0E5F,
    ),
)
P521 = Curve(
    "P-521",
    bytes.fromhex("06052b81040023"),
    (1 << 521) - 1,
    0x0051953EB9618E1C9A1F929A21A0B68540EEA2DA725B99B315F3B8B489918EF109E156193951EC7E937B1652C0BD3BB1BF073573DF883D2C34F1EF451FD46B503F00,
    0x01FFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFA51868783BF2F966B7FCC0148F709A5D03BB5C9B8899C47AEBB6FB71E91386409,
    (
        0x00C6858E06B70404E9CD9E3ECB662395B4429C648139053FB521F828AF606B4D3DBAA14B5E77EFE75928FE1DC127A2FFA8DE3348B3C1856A429BF97E7E31C2E5BD66,
        0x011839296A789A3BC0045C8A5FB42C7D1BD998F54449579B446817AFBD17273E662C97EE72995EF42640C550B9013FAD0761353C7086A272C24088BE94769FD16650,
    ),
)
CURVES = {curve.name: curve for curve in (P256, P384, P521)}
"""By their names in JSON Web Keys (RFC 7518, section 6.2.1.1)."""
