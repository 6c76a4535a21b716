"""BLS12-381: decoding with every check, multi-scalar multiplication and one pairing equation.

Points of G1 are Jacobian triples (X, Y, Z) of integers below `FIELD`, that is (X/Z², Y/Z³), with Z = 0 for
the identity; formulas: Bernstein and Lange, Explicit-Formulas Database, "short Weierstrass, a = 0". Field
tower and pairing are py_ecc's.
"""

from collections.abc import Iterable, Sequence
from functools import lru_cache
from typing import TypeAlias

from py_ecc.bls.point_compression import decompress_G2
from py_ecc.bls.typing import G2Compressed
from py_ecc.fields import optimized_bls12_381_FQ as FQ
from py_ecc.fields import optimized_bls12_381_FQ2 as FQ2
from py_ecc.fields import optimized_bls12_381_FQ12 as FQ12
from py_ecc.optimized_bls12_381.optimized_curve import G1, curve_order, field_modulus
from py_ecc.optimized_bls12_381.optimized_pairing import final_exponentiate, miller_loop
from py_ecc.typing import Optimized_Point3D

Point: TypeAlias = tuple[int, int, int]

FIELD: int = field_modulus
ORDER: int = curve_order
GENERATOR: Point = (int(G1[0]), int(G1[1]), 1)
IDENTITY: Point = (1, 1, 0)
POINT_BYTES = 48
# The curve's parameter z is −PARAMETER; ORDER = z⁴ − z² + 1.
PARAMETER = 0xD201000000010000
# β, the cube root of unity for which φ(x, y) = (βx, y) multiplies G1 by −z².
CUBE_ROOT = 0x5F19672FDF76CE51BA69C6076A0F77EADDB3A93BE6F89688DE17D813620A00022E01FFFFFFFEFFFE
WINDOW_BITS = 6


def decode(encoding: bytes) -> Point:
    """The point of 48 bytes in the BLS signatures' compressed form.

    ValueError unless the bytes are its only encoding and it is on the curve, in G1 and not the identity.
    """
    if len(encoding) != POINT_BYTES:
        raise ValueError("a point has 48 bytes")
    number = int.from_bytes(encoding, "big")
    flags, x = number >> 381, number & ((1 << 381) - 1)
    if flags not in {0b100, 0b101} or x >= FIELD:
        raise ValueError("not the compressed form of a finite point")
    square = (x * x * x + 4) % FIELD
    y = pow(square, (FIELD + 1) // 4, FIELD)
    if y * y % FIELD != square:
        raise ValueError("not on the curve")
    if (2 * y > FIELD) != (flags == 0b101):
        y = FIELD - y
    if not in_subgroup((x, y, 1)):
        raise ValueError("not in the subgroup")
    return (x, y, 1)


def in_subgroup(point: Point) -> bool:
    """Whether a finite affine point (Z = 1) of the curve has order `ORDER`: φ(P) = −z²P.

    The endomorphism satisfies φ² + φ + 1 = 0 on the whole curve, so φ(P) = −z²P gives (z⁴ − z² + 1)P = 0. All
    of G1 passes, −z² being the eigenvalue there (Bowe 2019, ePrint 2019/814; Scott 2021, ePrint 2021/1130).
    """
    x, y, _ = point
    multiple_x, multiple_y, multiple_z = _times_parameter(_times_parameter(point))
    square = multiple_z * multiple_z % FIELD
    return (
        multiple_z != 0
        and (CUBE_ROOT * x * square - multiple_x) % FIELD == 0
        and (y * square * multiple_z + multiple_y) % FIELD == 0
    )


def double(point: Point) -> Point:
    """2P (dbl-2009-l)."""
    x, y, z = point
    y_squared = y * y % FIELD
    s = 4 * x * y_squared % FIELD
    slope = 3 * x * x % FIELD
    new_x = (slope * slope - 2 * s) % FIELD
    new_y = (slope * (s - new_x) - 8 * y_squared * y_squared) % FIELD
    return new_x, new_y, 2 * y * z % FIELD


def add(left: Point, right: Point) -> Point:
    """P + Q for any two points, equal, opposite and identity included (add-1998-cmo-2)."""
    x1, y1, z1 = left
    x2, y2, z2 = right
    if z1 == 0:
        return right
    if z2 == 0:
        return left
    if z2 == 1:
        u1, s1 = x1, y1
    else:
        square2 = z2 * z2 % FIELD
        u1, s1 = x1 * square2 % FIELD, y1 * square2 * z2 % FIELD
    square1 = z1 * z1 % FIELD
    h = (x2 * square1 - u1) % FIELD
    slope = (y2 * square1 * z1 - s1) % FIELD
    if h == 0:
        return IDENTITY if slope else double(left)
    h_squared = h * h % FIELD
    h_cubed = h * h_squared % FIELD
    v = u1 * h_squared % FIELD
    new_x = (slope * slope - h_cubed - 2 * v) % FIELD
    new_y = (slope * (v - new_x) - s1 * h_cubed) % FIELD
    return new_x, new_y, z1 * z2 * h % FIELD


def combine(points: Sequence[Point], scalars: Sequence[int]) -> Point:
    """Σ scalar·point, window by window with buckets (Pippenger 1976); lengths must be equal."""
    terms = [(point, scalar % ORDER) for point, scalar in zip(points, scalars, strict=True)]
    result = IDENTITY
    for shift in reversed(range(0, ORDER.bit_length(), WINDOW_BITS)):
        for _ in range(WINDOW_BITS):
            result = double(result)
        result = add(result, _window_sum(terms, shift))
    return result


def pairings_cancel(left: Point, right: Point, left_g2: bytes, right_g2: bytes) -> bool:
    """Whether e(left, left_g2) = e(right, right_g2); the G2 points are trusted, 96 bytes each.

    Two Miller loops, one final exponentiation; an identity in G1 contributes 1.
    """
    minus_right = (right[0], -right[1] % FIELD, right[2])
    product = FQ12.one()
    for point, encoding in ((left, left_g2), (minus_right, right_g2)):
        if point[2]:
            product *= miller_loop(_decode_g2(encoding), _to_py_ecc(point), final_exponentiate=False)
    return bool(final_exponentiate(product) == FQ12.one())


@lru_cache
def _decode_g2(encoding: bytes) -> Optimized_Point3D[FQ2]:
    """A trusted point of G2."""
    halves = G2Compressed((int.from_bytes(encoding[:48], "big"), int.from_bytes(encoding[48:], "big")))
    return decompress_G2(halves)


def _times_parameter(point: Point) -> Point:
    """|z|·P, from the highest bit down."""
    result = point
    for bit in f"{PARAMETER:b}"[1:]:
        result = double(result)
        if bit == "1":
            result = add(result, point)
    return result


def _window_sum(terms: Iterable[tuple[Point, int]], shift: int) -> Point:
    """Σ digit·point over the scalars' digits at bit `shift`, by running sums over the buckets."""
    mask = (1 << WINDOW_BITS) - 1
    buckets = [IDENTITY] * (mask + 1)
    for point, scalar in terms:
        digit = scalar >> shift & mask
        if digit:
            buckets[digit] = add(buckets[digit], point)
    running = total = IDENTITY
    for bucket in reversed(buckets[1:]):
        running = add(running, bucket)
        total = add(total, running)
    return total


def _to_py_ecc(point: Point) -> Optimized_Point3D[FQ]:
    """The same point as py_ecc writes it: affine, homogeneous coordinate 1."""
    x, y, z = point
    inverse = pow(z, -1, FIELD)
    square = inverse * inverse % FIELD
    return FQ(x * square), FQ(y * square * inverse), FQ(1)
