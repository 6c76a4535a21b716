"""Co-signatures of witnesses on a log's checkpoints (C2SP tlog-cosignature, cosignature/v1 with Ed25519).

A witness signs a checkpoint once it has checked that it extends the last one that it signed. It signs

cosignature/v1
time SECONDS
ORIGIN
SIZE
BASE64(ROOT)
"""

from collections.abc import Iterable
from dataclasses import dataclass

from intertwine.protocols.checkpoint import Checkpoint, verified_checkpoint
from intertwine.protocols.errors import InputError, VerificationError
from intertwine.protocols.note import COSIGNATURE_KEY, NoteSignature, SignedNote, VerifierKey
from intertwine.protocols.policy import Policy, Witness
from intertwine.protocols.signing import SigningKey, verify_raw

MAX_COSIGNED_BYTES = 32 << 10
"""Of a note with the signatures of the log and of 64 witnesses."""
_TIME_BYTES = 8
_SIGNATURE_BYTES = _TIME_BYTES + 64


@dataclass(frozen=True)
class Cosigner:
    """A witness that has co-signed. time: seconds since 1970 UTC, the witness's word."""

    nickname: str
    time: int


@dataclass(frozen=True)
class CosignedCheckpoint:
    """A checkpoint, and which of the policy's witnesses have co-signed it, in the policy's order."""

    checkpoint: Checkpoint
    cosigners: tuple[Cosigner, ...]

    @property
    def nicknames(self) -> frozenset[str]:
        """The co-signers' nicknames."""
        return frozenset(cosigner.nickname for cosigner in self.cosigners)


@dataclass(frozen=True)
class Fork:
    """Proof of a fork: two notes, both signed by the log, with different roots for the same size."""

    size: int
    first: str
    second: str


def cosign(note: str, name: str, key: SigningKey, time: int) -> str:
    """The signature line of the witness `name` on a checkpoint that it has checked. time: seconds since 1970.

    Nothing is checked here; InputError if `note` is no signed note.
    """
    text = SignedNote.parse(note, MAX_COSIGNED_BYTES).text
    signature = time.to_bytes(_TIME_BYTES, "big") + key.sign_raw(_message(text, time))
    return NoteSignature(name, VerifierKey(name, COSIGNATURE_KEY, key.public).identifier, signature).line()


def open_cosigned(note: str, policy: Policy) -> CosignedCheckpoint:
    """Check a note's signatures by the log and by the witnesses, and that the quorum has signed.

    VerificationError as in `read_cosigned`; `cosignature_quorum` if too few have co-signed.
    """
    found = read_cosigned(note, policy)
    if not policy.satisfied(found.nicknames):
        names = ", ".join(sorted(found.nicknames)) or "no witness"
        raise VerificationError(
            "cosignature_quorum",
            f"the policy's quorum is not reached: {names} has co-signed the checkpoint.",
            "Ask the coordinator for a checkpoint that its witnesses have co-signed.",
        )
    return found


def read_cosigned(note: str, policy: Policy) -> CosignedCheckpoint:
    """Check a note's signatures by the log and by the policy's witnesses, however many of these there are.

    Lines by others are ignored. VerificationError `checkpoint_signature` if the note is malformed, of another
    log, or wrongly signed by it; `cosignature` if a witness's line is wrong.
    """
    try:
        signed = SignedNote.parse(note, MAX_COSIGNED_BYTES)
    except InputError as error:
        raise VerificationError(
            "checkpoint_signature", f"the checkpoint is refused. {error.problem}", error.remedy
        ) from error
    checkpoint = verified_checkpoint(signed, policy.log)
    cosigners = (_cosigner(signed, witness) for witness in policy.witnesses)
    return CosignedCheckpoint(checkpoint, tuple(cosigner for cosigner in cosigners if cosigner))


def find_fork(notes: Iterable[str], policy: Policy) -> Fork | None:
    """The first two of these notes, from whatever sources, that show that the log has two histories.

    Notes of equal size are compared; of two sizes, only the entries between them could tell.
    VerificationError as in `read_cosigned` if a note is not this log's: a Fork is proof against its key.
    """
    seen: dict[int, tuple[bytes, str]] = {}
    for note in notes:
        checkpoint = read_cosigned(note, policy).checkpoint
        root, first = seen.setdefault(checkpoint.size, (checkpoint.root, note))
        if root != checkpoint.root:
            return Fork(checkpoint.size, first, note)
    return None


def _cosigner(signed: SignedNote, witness: Witness) -> Cosigner | None:
    try:
        signature = signed.by(witness.verifier)
        if signature is None:
            return None
        time = int.from_bytes(signature[:_TIME_BYTES], "big")
        if len(signature) != _SIGNATURE_BYTES or time >= 2**63:
            raise InputError("its form is wrong.")
        verify_raw(witness.key_hex, _message(signed.text, time), signature[_TIME_BYTES:])
    except (InputError, VerificationError) as error:
        raise VerificationError(
            "cosignature", f"the co-signature of witness {witness.nickname!r} is wrong: {error.problem}"
        ) from error
    return Cosigner(witness.nickname, time)


def _message(text: str, time: int) -> bytes:
    return f"cosignature/v1\ntime {time}\n{text}".encode()
