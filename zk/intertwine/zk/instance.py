"""One statement made concrete: its circuit, what is public about it, and how to prove and verify it.

Every statement module builds an `Instance` from its public inputs, and there alone; prover and verifier both
start from it.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from py_arkworks_bls12381 import G1Point

from intertwine.protocols.errors import InputError, VerificationError
from intertwine.zk import reference_string, verifier
from intertwine.zk.circuit import Challenges, Circuit
from intertwine.zk.prover import Columns, Progress, Prover, Witness
from intertwine.zk.transcript import Transcript
from intertwine.zk.verifier import Combination, Pairing

VERSION = b"intertwine/zk/2"

Input: TypeAlias = bytes | int | str | Sequence[bytes] | Sequence[int]


@dataclass(frozen=True)
class Check:
    """A numbered check of `verify`; VerificationError carries its name."""

    number: int
    name: str
    meaning: str


ARGUMENT_CHECKS = (
    ("reference_string", "the reference string has the pinned digest and its points are consistent"),
    ("proof_length", "the proof has the length that the statement determines"),
    ("point_encoding", "every point is canonical, in the subgroup and not the identity"),
    ("scalar_canonical", "every scalar is below the group order"),
    ("constraint_identity", "the opened values satisfy all constraints at the random point"),
    ("opening_pairing", "the opened values belong to the commitments"),
)
"""The checks that every statement ends with, in this order."""


def numbered(*checks: tuple[str, str]) -> tuple[Check, ...]:
    """A statement's own checks and then those of the argument, numbered from 1."""
    return tuple(Check(index, *check) for index, check in enumerate((*checks, *ARGUMENT_CHECKS), start=1))


@dataclass(frozen=True)
class Instance:
    """A statement that has passed its own checks.

    inputs: the public inputs by name, in the order of the transcript; committed: the decoded commitments by
    column; public, linear: public columns, and the linear columns' commitments, given the challenges.
    """

    circuit: Circuit
    inputs: Sequence[tuple[str, Input]]
    committed: Mapping[str, G1Point]
    public: Callable[[Challenges], Columns]
    linear: Callable[[Challenges], Mapping[str, Combination]] = lambda challenges: {}

    def transcript(self) -> Transcript:
        """A transcript that has absorbed version, circuit, reference string and the whole statement."""
        transcript = Transcript(VERSION)
        transcript.absorb("circuit", self.circuit.digest)
        transcript.absorb("reference_string", bytes.fromhex(reference_string.DIGEST))
        for name, value in self.inputs:
            if isinstance(value, bytes | int | str):
                transcript.absorb(name, _encoded(value))
            else:
                transcript.absorb_all(name, map(_encoded, value))
        return transcript

    def prover(self, witness: Witness, progress: Progress | None = None) -> Prover:
        """A prover for the statement, true or not."""
        reference = reference_string.load()
        return Prover(self.circuit, reference, self.public, witness, self.transcript(), progress)

    def prove(self, witness: Witness, progress: Progress | None = None) -> bytes:
        """Prove; InputError if the witness does not satisfy the statement."""
        prover = self.prover(witness, progress)
        proof = prover.prove()
        if not prover.satisfied:
            raise InputError("the witness does not satisfy the statement.", "Commit anew in the next slot.")
        return proof

    def prepare(self, proof: bytes) -> Pairing:
        """Every check of a proof but the last."""
        reference_string.load()
        return verifier.prepare(
            self.circuit, self.public, self.committed, self.linear, self.transcript(), proof
        )

    def verify(self, proof: bytes) -> None:
        """Every check of a proof; VerificationError names the first that fails."""
        if not verifier.pairings_hold(reference_string.load(), [self.prepare(proof)]):
            raise _unopened()

    @property
    def proof_size(self) -> int:
        """Exact length of a proof in bytes."""
        return verifier.proof_size(self.circuit)


def verify_all(claims: Sequence[tuple[Callable[[], Instance], bytes]]) -> list[VerificationError | None]:
    """Verify many proofs together: what is wrong with each, None for those that are valid.

    A claim is how to make the instance, which may fail as a check does, and the proof. One pairing check
    serves all that have passed every other check (error below 2^-127); only if it fails is each checked by
    itself.
    """
    reference = reference_string.load()
    prepared = [_prepared(claim) for claim in claims]
    pairings = [result for result in prepared if isinstance(result, Pairing)]
    together = not pairings or verifier.pairings_hold(reference, pairings)
    verdicts: list[VerificationError | None] = []
    for result in prepared:
        if isinstance(result, VerificationError):
            verdicts.append(result)
        else:
            holds = together or verifier.pairings_hold(reference, [result])
            verdicts.append(None if holds else _unopened())
    return verdicts


def _prepared(claim: tuple[Callable[[], Instance], bytes]) -> Pairing | VerificationError:
    instance, proof = claim
    try:
        return instance().prepare(proof)
    except VerificationError as error:
        return error


def _unopened() -> VerificationError:
    return VerificationError("opening_pairing", "the opened values do not belong to the commitments.")


def _encoded(value: bytes | int | str) -> bytes:
    if isinstance(value, int):
        return value.to_bytes(8, "little", signed=True)
    return value.encode("ascii") if isinstance(value, str) else value
