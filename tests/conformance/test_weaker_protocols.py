"""What stops a forgery is the rule it breaks: without that rule the same forgery is accepted."""

from dataclasses import replace

import pytest
from py_arkworks_bls12381 import G1Point

from intertwine.protocols.errors import VerificationError
from intertwine.zk import field, kzg, proof_file, reference_string, verifier
from intertwine.zk.circuit import Circuit, Lookup
from intertwine.zk.instance import Instance
from intertwine.zk.transcript import Transcript
from tests.conformance.forgery.circuit_cases import forgetful
from tests.conformance.forgery.honest_cases import honest
from tests.conformance.forgery.plays import Forged
from tests.conformance.forgery.provers import Forgetful
from tests.conformance.forgery.step_cases import tuple_from_range


def accepted(instance: Instance, transcript: Transcript, proof: bytes) -> bool:
    """Whether the verifier accepts under another circuit or transcript."""
    parts = (instance.circuit, instance.public, instance.committed, instance.linear)
    pairing = verifier.prepare(*parts, transcript, proof)
    return verifier.pairings_hold(reference_string.load(), [pairing])


def refusal(forged: Forged) -> str:
    with pytest.raises(VerificationError) as refused:
        proof_file.verify_file(forged.data)
    return refused.value.check


@pytest.mark.parametrize(("kind", "label"), [("glm", "evaluation"), ("dataset", "opening")])
def test_not_absorbed(kind: str, label: str) -> None:
    forged = forgetful(kind, label).forge()
    instance = proof_file.instance_of(forged.statement)
    assert accepted(instance, Forgetful(instance.transcript(), label), forged.proof)
    assert refusal(forged) == "opening_pairing"


def untagged(circuit: Circuit) -> Circuit:
    """The circuit with the rows of all tables in one space."""

    def same(lookup: Lookup) -> Lookup:
        return replace(lookup, table=replace(lookup.table, tag=0))

    return replace(circuit, lookups=tuple(map(same, circuit.lookups)))


def test_tuple_from_range_table_without_tags() -> None:
    play = tuple_from_range()
    instance = proof_file.instance_of(play.statement)
    play.instance = replace(instance, circuit=untagged(instance.circuit))
    forged = play.forge()
    assert not forged.broken
    assert accepted(play.instance, play.instance.transcript(), forged.proof)
    assert refusal(forged) == "constraint_identity"


def test_every_evaluation_changed() -> None:
    good = honest("dataset")
    circuit = proof_file.instance_of(good.statement).circuit
    start = len(good.proof) - 96 - 32 * (len(circuit.columns) + 2)
    for place in range(start, len(good.proof) - 96, 32):
        value = (field.decode(good.proof[place : place + 32]) + 1) % field.MODULUS
        altered = good.proof[:place] + field.encode(value) + good.proof[place + 32 :]
        assert refusal(replace(good, proof=altered)) == "constraint_identity", place


def test_every_point_changed() -> None:
    good, other = honest("dataset"), kzg.encode_point(G1Point())
    circuit = proof_file.instance_of(good.statement).circuit
    split = len(good.proof) - 96 - 32 * (len(circuit.columns) + 2)
    for place in (*range(0, split, 48), len(good.proof) - 96, len(good.proof) - 48):
        altered = good.proof[:place] + other + good.proof[place + 48 :]
        check = "constraint_identity" if place < split else "opening_pairing"
        assert refusal(replace(good, proof=altered)) == check, place


def test_msm_length_mismatch() -> None:
    for values in ([1], [1, 2, 3]):
        with pytest.raises(ValueError, match="2 points but"):
            kzg.multiexp([G1Point(), G1Point()], values)


def test_degenerate_challenge_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """A challenge inside the domain has no Lagrange values: refused, not crashed."""
    good = honest("dataset")
    monkeypatch.setattr(field, "reduce_uniform", lambda data: 1)
    assert refusal(good) == "constraint_identity"
