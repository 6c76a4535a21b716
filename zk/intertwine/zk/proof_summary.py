"""Statements in plain words: what holds if the proof is accepted, and what a reader may not conclude.

Of one proof file, or of all the releases under a plan. The second assumes an audit of the log, which shows
what a single proof cannot: whose the commitments are, that they came before the beacon, and the rest.
"""

from dataclasses import dataclass

from intertwine.protocols.mechanism import GlmMechanism, ReleaseMechanism, StatisticsMechanism
from intertwine.protocols.plan import Plan
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
_GOOD = "That the vector is a good gradient, or that one record's part of it is small."
_SECRET = "That the participant kept its randomness secret."  # noqa: S105
_TRUTH = "That the records are true, or that nobody's occur twice."
_OF_RECORDS = (_TRUTH, _SECRET)
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


def summarise_plan(plan: Plan) -> Summary:
    """The summary of every valid release under a plan, given a log that passes its audit."""
    size = f"{plan.dimension} entries each"
    match plan.mechanism:
        case ReleaseMechanism(update_bound=bound):
            title = f"release: vectors of {size}, clipped and noised"
            return Summary(title, _release_claims(plan.sigma, bound), (_GOOD, _SECRET))
        case StatisticsMechanism(moment=moment, weights=weights) as mechanism:
            noised = _noise(
                plan.sigma, f"{_moment(moment, weights)} over all records that the participant had enrolled"
            )
            claims = (noised, _moved(mechanism.record_bound()))
            return Summary(f"statistics: noised sums of {size} over enrolled records", claims, _OF_RECORDS)
        case GlmMechanism(link=link, lot=lot, residual_bound=residual, row_bound=row) as mechanism:
            noised = _noise(plan.sigma, _step(lot, "record that the participant had enrolled"))
            claims = (noised, _residuals("the round's parameters", residual, row))
            return Summary(f"glm: {link} steps of {size} over enrolled records", claims, _OF_RECORDS)


def summarise_records(shape: Shape) -> Summary:
    """The summary of enrolled records of one form, given a log that passes its audit."""
    return Summary(
        f"dataset: records with {shape.columns} features",
        (f"Every record has {_record(shape)}.",),
        (_TRUTH, "That they were not enrolled before: only documents that are equal as a whole are noticed."),
    )


def _release(statement: ReleaseStatement) -> Summary:
    return Summary(
        f"release: a vector of {len(statement.update)} entries, clipped and noised",
        _release_claims(statement.sigma, statement.norm_bound),
        (_GOOD, _SECRET, _LOG),
    )


def _release_claims(sigma: int, bound: int) -> tuple[str, ...]:
    return (
        _noise(sigma, "a vector fixed by its commitment"),
        f"The vector's L2 norm is at most {bound}: that is how far all of the participant's data together "
        "can move it.",
    )


def _page(statement: PageStatement) -> Summary:
    return Summary(
        f"dataset: a page of {statement.page.rows} records with {statement.shape.columns} features",
        (f"Every record has {_record(statement.shape)}.",),
        (_TRUTH, "That they were not enrolled before, under this name or another.", _LOG),
    )


def _statistics(statement: StatisticsStatement) -> Summary:
    shape, dataset = statement.dataset.shape, statement.dataset
    what = f"{_moment(statement.moment, statement.weights)} over all {dataset.rows} enrolled records"
    bound = statistics.sensitivity(shape, statement.moment, statement.weights)
    return Summary(
        f"statistics: {len(statement.update)} noised entries over {_count(dataset)}",
        (_noise(statement.sigma, what), _moved(bound)),
        (_TRUTH, _ENROLLED, _SECRET, _LOG),
    )


def _glm(statement: GlmStatement) -> Summary:
    model, dataset = statement.model, statement.dataset
    return Summary(
        f"glm: one {model.link} step of {len(statement.update)} entries over {_count(dataset)}",
        (
            _noise(statement.sigma, _step(model.lot, "record")),
            _residuals("the stated weights", model.residual_bound, dataset.shape.row_bound),
        ),
        (_TRUTH, _ENROLLED, "That the stated weights are the plan's.", _SECRET, _LOG),
    )


def _moment(moment: statistics.Moment, weights: statistics.Weights) -> str:
    weighted = " times their label" if weights == "label" else ""
    return f"the {'Gram matrix' if moment == 'gram' else f'sum of their features{weighted}'}, exactly,"


def _moved(bound: int) -> str:
    return f"One record moves it by at most {bound} (L2)."


def _step(lot: int, record: str) -> str:
    records = f"every {record}"
    if lot != FULL_LOT:
        records = f"a secret lot that each {record} entered with probability {lot}/{FULL_LOT}"
    return f"the sum of residual times features, exactly, over {records}"


def _residuals(weights: str, residual_bound: int, row_bound: int) -> str:
    return (
        f"Residuals are those of {weights}, at most {residual_bound}; one record moves the sum by at most "
        f"{residual_bound} · {row_bound} = {residual_bound * row_bound} (L2)."
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
