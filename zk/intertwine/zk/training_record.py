"""What a published model file says of its training, from the log alone: from which record, and at which cost.

A run's *training record* is everything that the log holds of the run before its publication.
"""

import json
import math
from collections.abc import Iterable, Sequence
from decimal import ROUND_CEILING, Context, Decimal
from itertools import takewhile

from intertwine.protocols.encoding import sha256
from intertwine.protocols.entries import Entry, Outcome, PlanEntry, Publication, ReleaseEntry
from intertwine.protocols.errors import VerificationError
from intertwine.protocols.merkle import Tree, leaf_hash
from intertwine.protocols.plan import Plan
from intertwine.zk.privacy import Account, PrivacyRow

_PLACES = Decimal("0.0001")
_EXACT = Context(prec=400)
"""As many digits as the largest float and its places have."""

Positioned = tuple[int, Entry]
"""An entry with its position in the log."""


def model_metadata(origin: str, entries: Iterable[Positioned], parameters: bytes) -> dict[str, str]:
    """The metadata of a run's published file.

    origin: the log's. entries: those of the run, in the order of the log; from its publication on they do not
    count. parameters: the published bytes. VerificationError `model_file` if none of them is a plan.
    """
    record = list(takewhile(lambda item: not isinstance(item[1], Publication), entries))
    plan = _plan(record)
    return {
        "log_origin": origin,
        "model": plan.model,
        "parameters_sha256": sha256(parameters),
        "plan_sha256": plan.digest(),
        "privacy": privacy(record),
        "round": str(plan.rounds),
        "run": plan.run,
        "task": plan.task,
        "training_record": digest(record),
    }


def digest(record: Sequence[Positioned]) -> str:
    """The Merkle root over the entries of a training record, in hexadecimal."""
    tree = Tree(leaf_hash(entry.encode()) for _, entry in record)
    return tree.root(len(tree)).hex()


def privacy(record: Sequence[Positioned]) -> str:
    """What the record's releases cost each participant, by the log's outcomes, as compact JSON.

    Participant → assurance → epsilon, rounded up to four decimals, `infinite` after a rejected release, and
    delta, the noise's finite precision included. What the participant released in other runs is not in it.
    """
    account = Account()
    for position, entry in record:
        account.add(position, entry)
    figures: dict[str, dict[str, dict[str, str]]] = {}
    for row in account.rows(proven=_accepted(record)):
        figures.setdefault(row.participant, {})[row.assurance] = _figures(row)
    return json.dumps(figures, sort_keys=True, separators=(",", ":"))


def _plan(record: Sequence[Positioned]) -> Plan:
    for _, entry in record:
        if isinstance(entry, PlanEntry):
            return entry.plan.body
    raise VerificationError("model_file", "the log holds no plan of the run.")


def _accepted(record: Sequence[Positioned]) -> set[int]:
    """Positions of the releases that the log calls accepted."""
    verdicts = {entry.slot: entry.verdict for _, entry in record if isinstance(entry, Outcome)}
    return {
        position
        for position, entry in record
        if isinstance(entry, ReleaseEntry) and verdicts.get(entry.release.body.slot) == "accepted"
    }


def _figures(row: PrivacyRow) -> dict[str, str]:
    figures = row.guarantee
    delta = min(1.0, figures.delta + figures.precision_delta)
    return {"delta": f"{delta:.3e}", "epsilon": _rounded_up(figures.epsilon)}


def _rounded_up(epsilon: float) -> str:
    if math.isinf(epsilon):
        return "infinite"
    return str(Decimal(epsilon).quantize(_PLACES, ROUND_CEILING, _EXACT))
