"""Parts of the independent verifier against py_ecc's own slow functions, mpmath and hand computation."""

import hashlib
import random
import subprocess
import sys

import mpmath
import pytest
from py_ecc.bls.g2_primitives import subgroup_check
from py_ecc.bls.point_compression import compress_G1, compress_G2
from py_ecc.optimized_bls12_381 import (
    FQ,
    G1,
    G2,
    add,
    curve_order,
    field_modulus,
    multiply,
    normalize,
    pairing,
)

from intertwine.protocols.errors import VerificationError
from intertwine.zk.independent import curve, domain, sampler
from intertwine.zk.independent.dataset import Shape
from intertwine.zk.independent.residual import Model
from intertwine.zk.independent.transcript import Transcript

RANDOM = random.Random(20260101)  # noqa: S311
COFACTOR = (curve.PARAMETER + 1) ** 2 // 3


def encode(point) -> bytes:
    return compress_G1(point).to_bytes(48, "big")


def affine(point: curve.Point) -> tuple[int, int]:
    x, y = normalize(curve._to_py_ecc(point))
    return int(x), int(y)


def point_on_curve() -> curve.Point:
    """A random point of the whole curve, most likely outside the subgroup."""
    while True:
        x = RANDOM.randrange(curve.FIELD)
        y = pow(x**3 + 4, (curve.FIELD + 1) // 4, curve.FIELD)
        if (y * y - x**3 - 4) % curve.FIELD == 0:
            return x, y, 1


def times(point: curve.Point, scalar: int) -> curve.Point:
    result = curve.IDENTITY
    for bit in f"{scalar:b}":
        result = curve.double(result)
        if bit == "1":
            result = curve.add(result, point)
    return result


def test_constants_are_py_eccs() -> None:
    assert curve.ORDER == domain.MODULUS == curve_order
    assert field_modulus == curve.FIELD
    assert curve.ORDER == curve.PARAMETER**4 - curve.PARAMETER**2 + 1
    assert pow(curve.CUBE_ROOT, 3, curve.FIELD) == 1 != curve.CUBE_ROOT


@pytest.mark.parametrize("scalar", [1, 2, 3, 2**64 + 5, curve_order - 1])
def test_decode_agrees(scalar: int) -> None:
    theirs = multiply(G1, scalar)
    assert affine(curve.decode(encode(theirs))) == tuple(map(int, normalize(theirs)))


def test_addition_in_every_special_case() -> None:
    p, q = curve.decode(encode(multiply(G1, 5))), curve.decode(encode(multiply(G1, 7)))
    minus_p = (p[0], curve.FIELD - p[1], 1)
    scaled = (p[0] * 9 % curve.FIELD, p[1] * 27 % curve.FIELD, 3)
    assert affine(curve.add(p, q)) == tuple(map(int, normalize(multiply(G1, 12))))
    for same in (p, scaled):
        assert affine(curve.add(same, p)) == affine(curve.double(p)) == affine(curve.add(p, same))
        assert curve.add(same, minus_p)[2] == 0
        assert curve.add(minus_p, same)[2] == 0
        assert affine(curve.add(same, q)) == affine(curve.add(q, same)) == affine(curve.add(p, q))
    assert curve.add(curve.IDENTITY, p) == p == curve.add(p, curve.IDENTITY)
    assert curve.double(curve.IDENTITY)[2] == 0


def test_subgroup_check_agrees_on_points_of_every_order() -> None:
    """Small factors of the cofactor included: 3, 11, and the point of order 3 with x = 0."""
    assert COFACTOR % 3 == COFACTOR % 11 == 0
    assert not curve.in_subgroup((0, 2, 1))
    for _ in range(6):
        point = point_on_curve()
        theirs = (FQ(point[0]), FQ(point[1]), FQ(1))
        assert curve.in_subgroup(point) == subgroup_check(theirs)
        cleared = affine(times(point, COFACTOR))
        assert curve.in_subgroup((*cleared, 1))
        for small in (3, 11):
            torsion = times(point, curve.ORDER * COFACTOR // small)
            if torsion[2]:
                assert not curve.in_subgroup((*affine(torsion), 1))
                mixed = curve.add((*cleared, 1), torsion)
                assert not curve.in_subgroup((*affine(mixed), 1))


def _flip(encoding: bytes, bit: int) -> bytes:
    return (int.from_bytes(encoding, "big") ^ 1 << bit).to_bytes(48, "big")


GOOD = encode(multiply(G1, 9))
BAD_ENCODINGS = {
    "identity": bytes([0xC0]) + bytes(47),
    "identity_with_sign": bytes([0xE0]) + bytes(47),
    "not_compressed": _flip(GOOD, 383),
    "finite_with_infinity_flag": _flip(GOOD, 382),
    "x_not_reduced": (1 << 383 | int.from_bytes(GOOD, "big") % (1 << 381) % 2 + field_modulus).to_bytes(
        48, "big"
    ),
    "x_is_the_modulus": (1 << 383 | field_modulus).to_bytes(48, "big"),
    "not_on_curve": (1 << 383 | 1).to_bytes(48, "big"),
    "order_three": (1 << 383).to_bytes(48, "big"),
    "short": GOOD[:-1],
    "long": GOOD + b"\0",
    "empty": b"",
}


@pytest.mark.parametrize("name", BAD_ENCODINGS)
def test_bad_encoding_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match=r"^a point has|^not "):
        curve.decode(BAD_ENCODINGS[name])


def test_sign_bit_selects_the_other_point() -> None:
    x, y = affine(curve.decode(GOOD))
    assert affine(curve.decode(_flip(GOOD, 381))) == (x, curve.FIELD - y)


def test_combination_agrees() -> None:
    scalars = [
        0,
        1,
        2,
        curve.ORDER - 1,
        *(RANDOM.randrange(curve.ORDER) for _ in range(4)),
        curve.ORDER + 3,
        -5,
    ]
    bases = [multiply(G1, RANDOM.randrange(1, 1000)) for _ in scalars]
    expected = multiply(G1, 0)
    for base, scalar in zip(bases, scalars, strict=True):
        expected = add(expected, multiply(base, scalar % curve.ORDER))
    ours = curve.combine([curve.decode(encode(base)) for base in bases], scalars)
    assert affine(ours) == tuple(map(int, normalize(expected)))
    assert curve.combine([curve.GENERATOR] * 2, [4, -4])[2] == 0
    assert curve.combine([], [])[2] == 0
    with pytest.raises(ValueError, match="zip"):
        curve.combine([curve.GENERATOR], [])


def test_pairing_equation_agrees() -> None:
    g2, tau_g2 = (
        b"".join(half.to_bytes(48, "big") for half in compress_G2(q)) for q in (G2, multiply(G2, 6))
    )
    six, seven = (curve.decode(encode(multiply(G1, k))) for k in (6, 7))
    assert curve.pairings_cancel(six, curve.GENERATOR, g2, tau_g2)
    assert not curve.pairings_cancel(seven, curve.GENERATOR, g2, tau_g2)
    assert curve.pairings_cancel(curve.IDENTITY, curve.IDENTITY, g2, tau_g2)
    assert not curve.pairings_cancel(curve.IDENTITY, curve.GENERATOR, g2, tau_g2)
    assert pairing(G2, multiply(G1, 6)) == pairing(multiply(G2, 6), G1)


def test_lagrange_values_interpolate() -> None:
    """A polynomial's value from its rows, and both vanishing polynomials on their roots."""
    coefficients = [RANDOM.randrange(domain.MODULUS) for _ in range(5)]

    def polynomial(x: int) -> int:
        return sum(c * pow(x, k, domain.MODULUS) for k, c in enumerate(coefficients)) % domain.MODULUS

    zeta = RANDOM.randrange(domain.MODULUS)
    basis = domain.lagrange(zeta)
    assert domain.evaluate([polynomial(root) for root in domain.POINTS], basis) == polynomial(zeta)
    assert len(set(domain.POINTS)) == domain.ROWS
    assert domain.vanishing(domain.POINTS[17]) % domain.MODULUS == 0
    blind = [row for row, root in enumerate(domain.POINTS) if domain.blind_vanishing(root) == 0]
    assert blind == list(range(4088, 4096))
    with pytest.raises(ZeroDivisionError):
        domain.lagrange(domain.POINTS[3])


@pytest.mark.parametrize(
    ("sigma", "bits", "rows"), [(50, 61, 439), (100, 62, 877), (200, 63, 1754), (400, 64, 3508)]
)
def test_thresholds_against_mpmath(sigma: int, bits: int, rows: int) -> None:
    mpmath.mp.prec = 300
    weights = [mpmath.exp(-mpmath.mpf(m * m) / (2 * sigma * sigma)) for m in range(16 * sigma)]
    total = weights[0] + 2 * mpmath.fsum(weights[1:])
    cumulative, table = mpmath.mpf(0), [0]
    for m, weight in enumerate(weights):
        cumulative += weight if m == 0 else 2 * weight
        table.append(int(mpmath.nint(mpmath.ldexp(cumulative / total, bits - 1))))
    expected = tuple((m, table[m], table[m + 1]) for m in range(len(weights)) if table[m] < table[m + 1])
    assert sampler.thresholds(sigma, bits) == expected
    assert len(expected) == rows
    assert expected[-1][2] == 1 << bits - 1


@pytest.mark.parametrize("sigma", sampler.SAMPLERS)
def test_total_variation_is_as_stated(sigma: int) -> None:
    """About 2^-53.7 for each level; every bit pattern has an outcome; σ names the levels' sum, rounded."""
    parts = sampler.SAMPLERS[sigma]
    mpmath.mp.prec = 300
    s = parts.level_sigma
    weights = [mpmath.exp(-mpmath.mpf(m * m) / (2 * s * s)) for m in range(16 * s)]
    total = weights[0] + 2 * mpmath.fsum(weights[1:])
    table = {m: high - low for m, low, high in sampler.thresholds(s, parts.bits)}
    assert sum(table.values()) == 1 << parts.bits - 1
    distance = mpmath.fsum(
        abs((1 if m == 0 else 2) * weight / total - mpmath.ldexp(table.get(m, 0), 1 - parts.bits))
        for m, weight in enumerate(weights)
    )
    assert -54.5 < mpmath.log(distance / 2, 2) < -53.5
    assert sigma == mpmath.nint(s * mpmath.sqrt(sum(step**2 for step in parts.steps if step > 1) + 1))


def test_undecided_rounding_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sampler, "PRECISION", 64)
    monkeypatch.setattr(sampler, "TAIL", 40)
    with pytest.raises(VerificationError, match="threshold_table"):
        sampler.thresholds.__wrapped__(50, 61)


def test_public_bits_by_hand() -> None:
    beacon, slot = bytes(range(32)), bytes(range(32, 64))
    update = [0] * 4090
    bits = sampler.noise_bits(beacon, slot, sampler.SAMPLERS[2049], update)
    assert [[len(level) for level in page] for page in bits] == [[4088, 4088], [2, 2]]
    stream = hashlib.shake_256(
        b"intertwine/beacon-bits/1" + beacon + slot + b"release-noise" + b"\x01" + b"\x01\0\0\0"
    ).digest(16)
    assert bits[1][1][1] == int.from_bytes(stream[8:], "little") % 2**62
    stream = hashlib.shake_256(
        b"intertwine/beacon-bits/1" + beacon + slot + b"lot" + b"\0" + b"\x05\0\0\0"
    ).digest(6)
    assert sampler.lot_bits(beacon, slot, 5, 3)[2] == int.from_bytes(stream[4:], "little") % 2048


def test_transcript_by_hand() -> None:
    transcript = Transcript()
    transcript.absorb("a", b"xyz")
    transcript.absorb("n", -2)
    transcript.absorb("list", [b"p", b"qr"])
    transcript.absorb("text", "one")
    said = b"".join(
        len(part).to_bytes(8, "little") + part
        for part in (
            *(b"a", b"xyz", b"n", b"\xfe" + b"\xff" * 7),
            *(b"list", b"\x02" + bytes(7), b"list", b"p", b"list", b"qr", b"text", b"one"),
            *(b"challenge", b"zeta"),
        )
    )
    first = int.from_bytes(hashlib.shake_256(said).digest(64), "little") % curve_order
    assert transcript.challenge("zeta") == first
    said += b"".join(len(part).to_bytes(8, "little") + part for part in (b"challenge", b"v"))
    assert (
        transcript.challenge("v")
        == int.from_bytes(hashlib.shake_256(said).digest(64), "little") % curve_order
    )


def test_residual_tables_against_mpmath() -> None:
    mpmath.mp.prec = 300
    shape = Shape(3, 2047, "binary", "integer")
    model = Model("logistic", 1023, "7.5", "1", "1", 20, 2048, (1, 2, 3))
    scale = mpmath.mpf(2) ** 21 * mpmath.mpf("7.5") / (2047 * mpmath.mpf(2) ** 20)
    expected = tuple(
        (h, int(mpmath.nint(1023 / (1 + mpmath.exp(-(2 * h - 2047) * scale))))) for h in range(2048)
    )
    assert model.residuals(shape) == expected
    assert expected[0][1] == 0
    assert expected[-1][1] == 1023
    assert model.label_factor(shape) == 0


def test_identity_rounds_ties_to_even_and_clips() -> None:
    shape = Shape(3, 1, "integer", "integer")
    # Before rounding and clipping, f(h) is 25, 50 and ½ times 2h − 2047, the last always a tie.
    quarter = Model("identity", 100, "1", "0.5", "4", 21, 2048, (1, 1, 1)).residuals(shape)
    half = Model("identity", 100, "1", "0.5", "2", 21, 2048, (1, 1, 1))
    assert [f for _, f in quarter[1022:1026]] == [-75, -25, 25, 75]
    tie = Model("identity", 1, "1", "0.5", "2", 21, 2048, (1, 1, 1)).residuals(shape)
    assert [f for _, f in tie[1020:1028]] == [-1, -1, -1, 0, 0, 1, 1, 1]
    assert half.residuals(shape)[0] == (0, -100)
    assert half.residuals(shape)[-1] == (2047, 100)
    assert half.label_factor(shape) == 2**20


def test_nothing_of_the_prover_is_imported() -> None:
    """Independence: of this product the package loads the error tree and itself."""
    code = (
        "import sys, intertwine.zk.independent; "
        "print(*(m for m in sys.modules if m.startswith(('intertwine', 'py_ark', 'flint'))))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    allowed = {"intertwine", "intertwine.protocols", "intertwine.protocols.errors", "intertwine.zk"}
    own = {name for name in done.stdout.split() if not name.startswith("intertwine.zk.independent")}
    assert own <= allowed
