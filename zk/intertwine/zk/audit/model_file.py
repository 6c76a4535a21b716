"""Check `publication`: the published model file is the one that the log determines."""

from collections.abc import Callable

from intertwine.protocols.encoding import sha256
from intertwine.protocols.entries import Publication
from intertwine.protocols.errors import VerificationError
from intertwine.protocols.model_file import expected_model, model_metadata
from intertwine.protocols.plan import Plan


def check_model_file(plan: Plan, publication: Publication, origin: str, blob: Callable[[str], bytes]) -> None:
    """Recompute the file from the plan's template and the published parameters, and compare digests.

    origin: the log's; blob: the bytes of a digest. That the parameters are those due is checked elsewhere.
    VerificationError `model_file` if the plan's template cannot hold them, or the file is another one.
    """
    parameters = blob(publication.parameters)
    metadata = model_metadata(plan, parameters, origin)
    model = expected_model(blob(plan.template), parameters, metadata)
    if sha256(model) != publication.onnx:
        raise VerificationError(
            "model_file", "the ONNX file is not the plan's template with the published parameters"
        )
