"""What two verifiers that share no code say about a proof file."""

from dataclasses import dataclass
from enum import StrEnum
from typing import Literal

from intertwine.protocols.errors import InputError, VerificationError
from intertwine.zk import independent, proof_file
from intertwine.zk.proof_summary import Summary, summarise


class Verifiers(StrEnum):
    """fast: the one that coordinators use; independent: a second one, from the normative pages alone."""

    FAST = "fast"
    INDEPENDENT = "independent"
    BOTH = "both"


@dataclass(frozen=True)
class Opinion:
    """One verifier's word. check, number: of the check that failed, if it rejected the proof."""

    verifier: str
    outcome: Literal["accepted", "rejected", "unusable"]
    check: str = ""
    number: int = 0
    problem: str = ""


@dataclass(frozen=True)
class ProofVerdict:
    """All opinions, and what the statement means; summary: None if a public input is out of its range."""

    accepted: bool
    agreed: bool
    opinions: tuple[Opinion, ...]
    summary: Summary | None


def judge(data: bytes, verifiers: Verifiers = Verifiers.BOTH) -> ProofVerdict:
    """Ask the verifiers; InputError if they agree that this is no proof file."""
    chosen = [Verifiers.FAST, Verifiers.INDEPENDENT] if verifiers is Verifiers.BOTH else [verifiers]
    numbers, summary = _describe(data)
    opinions = tuple(_ask(verifier, data, numbers) for verifier in chosen)
    outcomes = {opinion.outcome for opinion in opinions}
    if outcomes == {"unusable"}:
        raise InputError(opinions[0].problem, "Ask whoever made the file for the original.")
    return ProofVerdict(outcomes == {"accepted"}, len(outcomes) == 1, opinions, summary)


def _describe(data: bytes) -> tuple[dict[str, int], Summary | None]:
    """The numbers of the statement's checks, and its summary."""
    try:
        statement, _ = proof_file.decode(data)
    except InputError:
        return {}, None
    checks = proof_file.CHECKS[proof_file.kind_of(statement)]
    numbers = {check.name: check.number for check in checks}
    try:
        proof_file.instance_of(statement)
    except VerificationError:
        return numbers, None
    return numbers, summarise(statement)


def _ask(verifier: Verifiers, data: bytes, numbers: dict[str, int]) -> Opinion:
    verify = proof_file.verify_file if verifier is Verifiers.FAST else independent.verify_file
    try:
        verify(data)
    except InputError as error:
        return Opinion(verifier, "unusable", problem=error.problem)
    except VerificationError as error:
        return Opinion(verifier, "rejected", error.check, numbers.get(error.check, 0), error.problem)
    return Opinion(verifier, "accepted")
