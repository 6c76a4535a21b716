"""What an audit checks and what it concludes: the numbered table of checks, and the verdict."""

from dataclasses import dataclass
from enum import StrEnum

from intertwine.zk.audit.report import Report
from intertwine.zk.privacy import PrivacyRow


class Status(StrEnum):
    """How a check ended. A check that needs one that failed is not reached, never passed."""

    PASSED = "pass"
    FAILED = "fail"
    NOT_REACHED = "not-reached"


@dataclass(frozen=True)
class Check:
    """A numbered check, what it looks at, and the check that must have passed for it to make sense."""

    number: int
    name: str
    what: str
    needs: str | None


CHECKS: tuple[Check, ...] = (
    Check(1, "bundle_format", "The bundle is complete, within bounds and of a known version.", None),
    Check(
        2,
        "entry_encoding",
        "Every log entry is canonical and of a known type; none occurs twice.",
        "bundle_format",
    ),
    Check(3, "checkpoint_signature", "The checkpoint is signed with the log's key.", "entry_encoding"),
    Check(
        4,
        "cosignature_quorum",
        "The checkpoint carries the co-signatures that the policy demands.",
        "checkpoint_signature",
    ),
    Check(
        5,
        "log_root",
        "The entries hash to the checkpoint's size and root (RFC 6962).",
        "checkpoint_signature",
    ),
    Check(
        6,
        "log_consistency",
        "Earlier checkpoints, those of the bundle and those that others hold, are of prefixes of this log; "
        "the bundle's proofs of consistency and inclusion lead to its checkpoint.",
        "log_root",
    ),
    Check(
        7,
        "enrolment",
        "The log begins with its creation under its key. Everyone was invited and enrolled once, with keys "
        "that occur nowhere else, and replaced a key with the signatures of both the old and the new one.",
        "log_root",
    ),
    Check(
        8,
        "plan",
        "Plans are signed with the log's key, for this deployment and enrolled participants that are not "
        "revoked; rounds open only for planned runs that were not stopped, in order, from the latest "
        "parameters, for everyone but who was revoked meanwhile, with a fresh nonce.",
        "enrolment",
    ),
    Check(
        9,
        "dataset",
        "Every dataset is signed with its participant's key in force and continues its chain; its pages are "
        "proven, its commitments never occurred before, and nobody else enrolled the same records.",
        "plan",
    ),
    Check(
        10,
        "commit",
        "Every commit is signed with the key in force of its participant, who is not revoked, for its slot, "
        "plan and parameters, before the beacon, once a slot, names the dataset in force if the plan needs "
        "one, and uses no commitment that occurred before.",
        "dataset",
    ),
    Check(
        11,
        "beacon",
        "Every beacon follows from the nonce fixed when the round opened and from a checkpoint of this log "
        "that covers all the round's commits; one a round.",
        "commit",
    ),
    Check(
        12,
        "release",
        "Every release is signed with the key of its commit, answers its commit and beacon, comes once a "
        "slot, and its update and proof are in the bundle.",
        "beacon",
    ),
    Check(13, "outcome", "Every release, and every commit without one, has exactly one outcome.", "release"),
    Check(
        14,
        "proof",
        "Accepted releases prove their statement; rejected ones fail the recorded check.",
        "outcome",
    ),
    Check(
        15,
        "aggregate",
        "Every model counts all accepted updates and no others, reaches the quorum, and its aggregate and "
        "parameters are those recomputed.",
        "outcome",
    ),
    Check(
        16,
        "publication",
        "Published parameters and ONNX files are those recomputed; every file that an entry names is there "
        "unaltered, and there is no other.",
        "aggregate",
    ),
    Check(17, "privacy", "Every release ever logged is counted in its participant's figures.", "outcome"),
)


@dataclass(frozen=True)
class CheckResult:
    """One line of the verdict. entry: position in the log of the first entry at fault, if one is."""

    number: int
    name: str
    status: Status
    detail: str
    entry: int | None = None


@dataclass(frozen=True)
class Counts:
    """How much was looked at. Rejected proofs are those whose rejection was reproduced."""

    entries: int = 0
    rounds: int = 0
    proofs_verified: int = 0
    proofs_rejected: int = 0


@dataclass(frozen=True)
class Verdict:
    """The audit's result.

    log_key: the key the log was checked with, empty if there was none; self_asserted: it came from the bundle
    itself, so the log's origin is unproven. runs: those whose proofs and models were checked; of others only
    the log was. privacy: empty if the log could not be retraced. report: what the
    log tells, for filing; None if its entries are not those that the checkpoint was signed over.
    """

    passed: bool
    checks: tuple[CheckResult, ...]
    privacy: tuple[PrivacyRow, ...]
    counts: Counts
    log_key: str
    self_asserted: bool
    beacon_modes: tuple[str, ...]
    runs: tuple[str, ...] = ()
    report: Report | None = None
