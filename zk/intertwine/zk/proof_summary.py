"""A proof file in plain words: what its statement says if the proof holds, and what it does not say."""

from dataclasses import dataclass

from intertwine.zk import statistics
from intertwine.zk.dataset import Dataset, PageStatement, Shape
from intertwine.zk.glm import GlmStatement
from intertwine.zk.proof_file import Statement
from intertwine.zk.release import ReleaseStatement
from intertwine.zk.statistics import StatisticsStatement
from intertwine.zk.step import FULL_LOT

_LABELS = {
    "none": "no label",
    "binary": "a label 0 or 1",
    "integer": "an integer label from -1024 to 1023",
}
_LOG = (
    "That the commitments are older than the beacon and new, and whose they are: that is for the log to show."
)
_SECRET = "That the participant kept its randomness secret."  # noqa: S105
_TRUTH = "That the records are true, or that nobody's occur twice."
_ENROLLED = "That the records obey their bounds: each page's own proof shows that, once for all."


@dataclass(frozen=True)
class Summary:
    """Sentences. proven: what holds if the proof is accepted; not_proven: what a reader may not conclude."""

    title: str
    proven: tuple[str, ...]
    not_proven: tuple[str, ...]


def summarise(statement: Statement) -> Summary:
    """The summary of a statement whose public inputs are in their ranges."""
    match statement:
        case ReleaseStatement():
            return _release(statement)
        case PageStatement():
            return _page(statement)
        case StatisticsStatement():
            return _statistics(statement)
        case GlmStatement():
            return _glm(statement)


def _release(statement: ReleaseStatement) -> Summary:
    return Summary(
        f"release: a vector of {len(statement.update)} entries, clipped and noised",
        (
            _noise(statement.sigma, "a vector fixed by its commitment"),
            f"The vector's L2 norm is at most {statement.norm_bound}: that is how far all of the "
            "participant's data together can move it.",
        ),
        ("That the vector is a good gradient, or that one record's part of it is small.", _SECRET, _LOG),
    )


def _page(statement: PageStatement) -> Summary:
    return Summary(
        f"dataset: a page of {statement.page.rows} records with {statement.shape.columns} features",
        (f"Every record has {_record(statement.shape)}.",),
        (_TRUTH, "That they were not enrolled before, under this name or another.", _LOG),
    )


def _statistics(statement: StatisticsStatement) -> Summary:
    shape, dataset = statement.dataset.shape, statement.dataset
    weighted = " times their label" if statement.weights == "label" else ""
    what = "Gram matrix" if statement.moment == "gram" else f"sum of their features{weighted}"
    bound = statistics.sensitivity(shape, statement.moment, statement.weights)
    return Summary(
        f"statistics: {len(statement.update)} noised entries over {_count(dataset)}",
        (
            _noise(statement.sigma, f"the {what}, exactly, over all {dataset.rows} enrolled records"),
            f"One record moves it by at most {bound} (L2).",
        ),
        (_TRUTH, _ENROLLED, _SECRET, _LOG),
    )


def _glm(statement: GlmStatement) -> Summary:
    model, dataset = statement.model, statement.dataset
    lot = "every record"
    if model.lot != FULL_LOT:
        lot = f"a secret lot that each record entered with probability {model.lot}/{FULL_LOT}"
    return Summary(
        f"glm: one {model.link} step of {len(statement.update)} entries over {_count(dataset)}",
        (
            _noise(statement.sigma, f"the sum of residual times features, exactly, over {lot}"),
            f"Residuals are those of the stated weights, at most {model.residual_bound}; one record moves "
            f"the sum by at most {model.residual_bound} · {dataset.shape.row_bound} = "
            f"{model.residual_bound * dataset.shape.row_bound} (L2).",
        ),
        (_TRUTH, _ENROLLED, "That the stated weights are the plan's.", _SECRET, _LOG),
    )


def _noise(sigma: int, what: str) -> str:
    return (
        f"What was published is {what}, plus discrete Gaussian noise of standard deviation {sigma} from "
        "randomness fixed by its commitment and the stated beacon."
    )


def _count(dataset: Dataset) -> str:
    return f"{dataset.rows} records with {dataset.shape.columns} features"


def _record(shape: Shape) -> str:
    features = "integer features"
    if shape.entries == "uniform":
        features = "features that are each 0 or one weight of the record, a non-negative integer,"
    return f"{features} of L2 norm at most {shape.row_bound}, and {_LABELS[shape.label]}"
