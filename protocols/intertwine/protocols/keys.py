"""How a participant replaces its signing key.

The old key signs the document that names the new one, and the new one signs the same facts: so nobody is
given a key that it does not hold, and nobody but the participant gives itself another key.
"""

from typing import Annotated, Literal

from pydantic import Field

from intertwine.protocols.document import Document, Hex32, Hex64, Name
from intertwine.protocols.encoding import encode
from intertwine.protocols.errors import VerificationError
from intertwine.protocols.round import Signed
from intertwine.protocols.signing import SigningKey, verify_signature

_POSSESSION = "NewKeyPossession"


class NewKey(Document):
    """A participant's next signing key.

    sequence: counts the participant's changes of key from 1. possession: signature by `new_key`, as a
    document of kind `NewKeyPossession`, over the canonical bytes of all other fields.
    """

    version: Literal["intertwine/new-key/v1"] = "intertwine/new-key/v1"
    deployment: Hex32
    participant: Name
    sequence: Annotated[int, Field(ge=1, le=2**32)]
    old_key: Hex32
    new_key: Hex32
    possession: Hex64

    def statement(self) -> bytes:
        """What the new key signs."""
        return encode(self.model_dump(mode="json", exclude={"possession"}))


class KeyStatus(Document):
    """What the control plane says of the sender: its key in force, and how often it was changed."""

    participant: Name
    signing_key: Hex32
    changes: Annotated[int, Field(ge=0, le=2**32)]


def sign_new_key(
    deployment: str, participant: str, sequence: int, old: SigningKey, new: SigningKey
) -> Signed[NewKey]:
    """The document that replaces `old` by `new`; the same arguments give the same bytes."""
    draft = NewKey(
        deployment=deployment,
        participant=participant,
        sequence=sequence,
        old_key=old.public,
        new_key=new.public,
        possession="00" * 64,
    )
    possession = new.sign(_POSSESSION, draft.statement())
    return Signed[NewKey].create(draft.model_copy(update={"possession": possession}), old)


def check_new_key(signed: Signed[NewKey], deployment: str, participant: str, key: str, changes: int) -> None:
    """Check a change of key by `participant`, whose key in force is `key` after so many changes.

    VerificationError `signature` if not both keys signed it, and `key_change` if it is for another deployment
    or participant, or does not come next. Does not check that the new key never occurred before.
    """
    body = signed.open(key)
    verify_signature(body.new_key, _POSSESSION, body.statement(), body.possession)
    if (body.deployment, body.participant) != (deployment, participant):
        raise VerificationError("key_change", "the new key is for another deployment or participant.")
    if (body.old_key, body.sequence) != (key, changes + 1):
        raise VerificationError("key_change", "it does not follow the participant's latest change of key.")
