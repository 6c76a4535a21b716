"""Who this agent is, and whom it trusts."""

from dataclasses import dataclass

from intertwine.protocols.signing import SigningKey


@dataclass(frozen=True)
class Identity:
    """One participant of one deployment, whose log has this origin and the deployment's key."""

    participant: str
    deployment: str
    log_origin: str
    key: SigningKey
