"""The registry of conformance cases: what each is, what must happen to it, and how it is made."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from tests.conformance.forgery.plays import Forged

ACCEPTED, UNUSABLE = "", "not a proof file"
IDENTITY, OPENING = "constraint_identity", "opening_pairing"


@dataclass(frozen=True)
class Case:
    """One vector. check: what rejects it, ACCEPTED or UNUSABLE; breaks: the gates its prover violates."""

    name: str
    variant: str
    statement: str
    check: str
    why: str
    breaks: frozenset[str]
    make: Callable[[], Forged | bytes]

    @property
    def file(self) -> str:
        return "-".join(filter(None, (self.statement, self.name, self.variant))) + ".json"

    @property
    def exit_code(self) -> int:
        return {ACCEPTED: 0, UNUSABLE: 2}.get(self.check, 1)


CASES: dict[str, Case] = {}


def add(
    statement: str,
    name: str,
    check: str,
    why: str,
    make: Callable[[], Forged | bytes],
    breaks: Iterable[str] = (),
    variant: str = "",
) -> None:
    """Register a case; every vector has a file name of its own."""
    case = Case(name, variant, statement, check, why, frozenset(breaks), make)
    if case.file in CASES:
        raise ValueError(f"{case.file} is registered twice")
    CASES[case.file] = case


def case(
    statement: str, name: str, check: str, breaks: Iterable[str] = (), variant: str = ""
) -> Callable[[Callable[[], Forged | bytes]], Callable[[], Forged | bytes]]:
    """Register the function as a case; its docstring says why."""

    def register(make: Callable[[], Forged | bytes]) -> Callable[[], Forged | bytes]:
        add(statement, name, check, " ".join((make.__doc__ or "").split()), make, breaks, variant)
        return make

    return register
