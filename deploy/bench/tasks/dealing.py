"""Who holds what: by a hash, so that nobody chose it and it is the same everywhere."""

import hashlib


def holder(key: str, participants: int) -> int:
    """The participant, from 0, that holds what belongs to `key`: a product family or a vendor."""
    return int.from_bytes(hashlib.sha256(key.encode()).digest()[:8], "big") % participants
