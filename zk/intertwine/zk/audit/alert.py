"""Alerts of a watch: what they say, and their way to a webhook."""

from dataclasses import asdict, dataclass
from enum import StrEnum

from intertwine.protocols.encoding import encode, sha256
from intertwine.protocols.errors import VerificationError
from intertwine.zk.audit.digest_file import DigestFile
from intertwine.zk.audit.http_client import HttpClient

VERSION = "intertwine/alert/v1"


class AlertKind(StrEnum):
    """What is wrong.

    fork: the log has two histories; rollback: it shows less than it did; log_rule: an entry breaks a rule of
    the log, or what the log promises cannot be had; missing_release: a slot committed and its beacon is
    known, but no release followed; rejected_proof: a proof is invalid, or was judged wrongly; budget: an
    epsilon is beyond the limit; cosignature: witnesses do not co-sign; unreachable: a server does not answer.
    """

    FORK = "fork"
    ROLLBACK = "rollback"
    LOG_RULE = "log_rule"
    MISSING_RELEASE = "missing_release"
    REJECTED_PROOF = "rejected_proof"
    BUDGET = "budget"
    COSIGNATURE = "cosignature"
    UNREACHABLE = "unreachable"


class Fault(StrEnum):
    """Who did wrong, as far as the log proves it."""

    COORDINATOR = "coordinator"
    PARTICIPANT = "participant"
    UNKNOWN = "unknown"


@dataclass(frozen=True)
class Alert:
    """One thing that is wrong.

    entry: position in the log, None if it is about no entry; check: the name of the check that says no, empty
    if none does. evidence: signed notes that prove it to others. The same thing gives the same kind, entry
    and problem whenever it is found.
    """

    kind: AlertKind
    entry: int | None
    problem: str
    remedy: str
    fault: Fault = Fault.UNKNOWN
    check: str = ""
    evidence: tuple[str, ...] = ()

    @classmethod
    def of_rule(cls, entry: int | None, error: VerificationError) -> "Alert":
        """A rule of the log is broken, which only its coordinator can do."""
        remedy = error.remedy or "Ask the coordinator; until it is explained, do not rely on this log."
        return cls(AlertKind.LOG_RULE, entry, error.problem, remedy, Fault.COORDINATOR, error.check)

    def identity(self, origin: str) -> str:
        """Names what is wrong with the log `origin`, however often it is found: 64 hexadecimal digits."""
        return sha256(encode([VERSION, origin, self.kind, self.entry, self.problem]))

    def document(self, origin: str) -> dict[str, object]:
        """The alert about the log `origin` as JSON."""
        content = {**asdict(self), "evidence": list(self.evidence)}
        return {"version": VERSION, "id": self.identity(origin), "log": origin, **content}


class Outbox:
    """Alerts on their way to a webhook: each is sent until it is taken, and then never again.

    sent: the identities of those that were taken, in this life or an earlier one.
    """

    def __init__(self, webhook: HttpClient, origin: str, sent: DigestFile) -> None:
        self._webhook, self._origin, self._sent = webhook, origin, sent
        self._waiting: dict[str, Alert] = {}

    def put(self, alert: Alert) -> bool:
        """Take an alert; False if it was sent before."""
        identity = alert.identity(self._origin)
        if identity in self._sent:
            return False
        self._waiting.setdefault(identity, alert)
        return True

    def flush(self) -> None:
        """Send what waits, in order; UnreachableError if the webhook does not take one, which waits on."""
        for identity, alert in list(self._waiting.items()):
            headers = {"Content-Type": "application/json", "Idempotency-Key": identity}
            self._webhook.post(encode(alert.document(self._origin)), headers)
            self._sent.add(identity)
            del self._waiting[identity]
