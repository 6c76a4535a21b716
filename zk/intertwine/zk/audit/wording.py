"""What privacy figures rest on and whether they protect anything: the same words wherever they are shown."""

import math
from dataclasses import dataclass

from intertwine.protocols.accounting import Assurance
from intertwine.zk.privacy import PrivacyRow

MEANINGLESS_EPSILON = 20.0
"""Above this, odds may change by more than e^20 ≈ 5 · 10^8: the figure is a bound, not a protection."""


@dataclass(frozen=True)
class Words:
    """short: what a figure protects and by what, for a table; label: the same for a heading.

    rests_on: what must be believed; note: the same beside a table of all kinds, if there is more to say than
    `short` does; holds: what a figure that protects means, in one sentence.
    """

    short: str
    label: str
    rests_on: str
    note: str
    holds: str


ASSURANCES = {
    Assurance.PROVEN_RECORD: Words(
        "a record, proven",
        "One record, proven",
        "The proofs alone: every update follows from enrolled records, no record contributes more than "
        "agreed, and the noise is honest. A figure is about one record as it was enrolled: that records are "
        "true, and that none was enrolled twice, is not proven; nothing is claimed for a participant as a "
        "whole.",
        "Figures marked 'a record, proven' hold for records as they were enrolled: that they are true, and "
        "that none was enrolled twice, is not proven; nothing is claimed for a participant as a whole.",
        "Holds by proof, for a record as it was enrolled.",
    ),
    Assurance.PROVEN_PARTICIPANT: Words(
        "all data, proven",
        "All data of a participant, proven",
        "The proofs alone: the whole update is limited, and the noise is honest.",
        "",
        "Holds by proof.",
    ),
    Assurance.ATTESTED_RECORD: Words(
        "a record, its word",
        "One record, by the participant's word",
        "The participant's word that it clipped every record before it added them up. The noise is proven.",
        "Figures marked 'its word' rest on the participant clipping each record.",
        "Holds if the participant clipped every record as it says.",
    ),
}


def no_protection(row: PrivacyRow) -> str:
    """Why a row's figure protects nothing; empty if it does."""
    if math.isinf(row.guarantee.epsilon):
        return "a release without a valid proof may have revealed anything."
    if row.guarantee.precision_delta >= row.guarantee.delta:
        return (
            f"at this epsilon the noise's finite precision alone allows a delta of "
            f"{row.guarantee.precision_delta:.1e}; the figure gives no protection."
        )
    return ""


def beyond(row: PrivacyRow) -> str:
    """What of a row's figure was not verified; empty if all was."""
    if not row.unverified_releases:
        return ""
    return f"{row.unverified_releases} of its releases are proven by the log's word alone."


def reading(row: PrivacyRow) -> str:
    """What a row's figure means, in one sentence."""
    if reason := no_protection(row):
        return f"Protects nothing: {reason}"
    if row.guarantee.epsilon > MEANINGLESS_EPSILON:
        return "No meaningful protection: what is proven is that the noise was honest."
    holds = ASSURANCES[row.assurance].holds
    return f"{holds} But {beyond(row)}" if row.unverified_releases else holds
