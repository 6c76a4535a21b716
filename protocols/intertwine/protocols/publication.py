"""A published model's record: the log entry, and the proof that it is in the signed log."""

from intertwine.protocols.checkpoint import open_checkpoint
from intertwine.protocols.document import Document, Note
from intertwine.protocols.entries import Publication
from intertwine.protocols.merkle import leaf_hash, verify_inclusion
from intertwine.protocols.round import InclusionProof


class ModelRecord(Document):
    """What the coordinator shows for a published model."""

    publication: Publication
    inclusion: InclusionProof
    checkpoint: Note

    def verify(self, origin: str, log_key: str) -> Publication:
        """The publication, if the log under this key holds it.

        VerificationError `checkpoint_signature` or `log_inclusion` if not.
        """
        checkpoint = open_checkpoint(self.checkpoint, origin, log_key)
        path = [bytes.fromhex(node) for node in self.inclusion.path]
        leaf = leaf_hash(self.publication.encode())
        verify_inclusion(leaf, self.inclusion.index, checkpoint.size, path, checkpoint.root)
        return self.publication
