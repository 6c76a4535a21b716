"""Check `publication`: the published model file is the one that the log determines."""

from collections.abc import Callable, Sequence

from intertwine.protocols.encoding import sha256
from intertwine.protocols.entries import Publication
from intertwine.protocols.errors import VerificationError
from intertwine.protocols.model_file import expected_model
from intertwine.protocols.plan import Plan
from intertwine.zk.training_record import Positioned, model_metadata


def check_model_file(
    plan: Plan,
    publication: Publication,
    origin: str,
    entries: Sequence[Positioned],
    blob: Callable[[str], bytes],
) -> None:
    """Recompute the file from the plan's template and the published parameters, and compare digests.

    origin: the log's; entries: the run's, in order; blob: the bytes of a digest. That the parameters are
    those due is checked elsewhere.
    VerificationError `model_file` if the plan's template cannot hold them, or the file is another one.
    """
    parameters = blob(publication.parameters)
    metadata = model_metadata(origin, entries, parameters)
    model = expected_model(blob(plan.template), parameters, metadata)
    if sha256(model) != publication.onnx:
        raise VerificationError(
            "model_file", "the ONNX file is not the plan's template with the published parameters"
        )
