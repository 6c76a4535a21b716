"""Group operations and reference string against py_ecc, which shares no code with py_arkworks_bls12381."""

import pytest
from py_arkworks_bls12381 import GT, G1Point, G2Point
from py_ecc.bls.g2_primitives import pubkey_to_G1, signature_to_G2, subgroup_check
from py_ecc.optimized_bls12_381 import G1, G2, add, curve_order, multiply, neg, normalize, pairing

from intertwine.zk import domain, kzg, reference_string
from intertwine.zk.field import MODULUS


def test_order_and_root_of_unity() -> None:
    assert curve_order == MODULUS
    assert pow(domain.OMEGA, 4096, MODULUS) == 1 != pow(domain.OMEGA, 2048, MODULUS)


@pytest.mark.parametrize("index", [0, 1, 2047, 4095])
def test_points_of_the_reference_string(index: int) -> None:
    points = reference_string.load()
    for ours in (points.lagrange[index], points.powers[index]):
        theirs = pubkey_to_G1(kzg.encode_point(ours))
        assert subgroup_check(theirs)
        x, y = (int(value).to_bytes(48, "big") for value in normalize(theirs))
        assert bytes(ours.to_xy_bytes_be()) == x + y


def test_multiexp() -> None:
    points = reference_string.load().powers[3:6]
    scalars = [MODULUS - 1, 2**200 + 7, 12]
    expected = multiply(G1, 0)
    for point, scalar in zip(points, scalars, strict=True):
        expected = add(expected, multiply(pubkey_to_G1(kzg.encode_point(point)), scalar))
    assert normalize(pubkey_to_G1(kzg.encode_point(kzg.multiexp(points, scalars)))) == normalize(expected)


def test_pairing_ties_both_sides_of_the_reference_string() -> None:
    """e([τ]₁, [1]₂) = e([1]₁, [τ]₂), computed by py_ecc and by us."""
    points = reference_string.load()
    tau = pubkey_to_G1(kzg.encode_point(points.powers[1]))
    tau_g2 = signature_to_G2(bytes(points.g2_tau.to_compressed_bytes()))
    assert subgroup_check(tau_g2)
    assert pairing(G2, tau) == pairing(tau_g2, G1)
    assert pairing(G2, tau) * pairing(tau_g2, neg(G1)) == pairing(G2, tau) ** 0
    assert GT.pairing_check([points.powers[1], -G1Point()], [G2Point(), points.g2_tau])
    assert not GT.pairing_check([points.powers[2], -G1Point()], [G2Point(), points.g2_tau])
