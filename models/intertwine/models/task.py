"""What a task is: the one interface between a model and the federation around it."""

from collections.abc import Mapping, Sized
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, TypeAlias, TypeVar, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from intertwine.protocols.mechanism import Entries, Label

Parameters: TypeAlias = NDArray[np.float64]
"""A model's parameters as one vector, shape (d,)."""
Update: TypeAlias = NDArray[np.int64]
"""A participant's clipped sum before noise, shape (d,), in integer units."""
Features: TypeAlias = NDArray[np.int64]
"""Integer vectors of records, shape (n, columns)."""
Labels: TypeAlias = NDArray[np.int64]
"""Labels of records, shape (n,)."""
Arrays: TypeAlias = dict[str, NDArray[Any]]
"""Named inputs or outputs of an exported model; the first axis is the batch."""

Records = TypeVar("Records", bound=Sized)


@dataclass(frozen=True)
class Clipping:
    """How far one record, and one participant, may move an update.

    record_norm: L2 bound on one record's real vector, in the model's units, above 0.
    record_bound: the same bound in integer units: the record-level sensitivity of an update.
    update_bound: L2 bound on a participant's whole update, in integer units.
    """

    record_norm: float
    record_bound: int
    update_bound: int

    @property
    def scale(self) -> float:
        """Integer units in one real unit."""
        return self.record_bound / self.record_norm


@dataclass(frozen=True)
class Evaluation:
    """How a model does on a participant's held-out part.

    loss: what training drives down. metric: the task's figure, see `Task.metric_name`.
    baseline: the same figure for the trivial model `Task.baseline_name` on the same records.
    """

    loss: float
    metric: float
    baseline: float


@dataclass(frozen=True)
class ModelCard:
    """What the users of a task's model must know beyond what the task's other fields say.

    inputs, outputs: meaning and unit of each of the exported model's, by its name. limits: what the model
    cannot do, a sentence each.
    """

    intended_use: str
    inputs: Mapping[str, str]
    outputs: Mapping[str, str]
    limits: tuple[str, ...]


class Task(Protocol[Records]):
    """A model that a federation can train, and what its participants' files mean.

    Every task is a `ReleaseTask` or a `DataBoundTask`, which differ in what a participant's update is.

    version: counts changes of the definition; parameters of one version mean nothing to another.
    record: what record-level privacy protects, in words fit to stand beside an epsilon.
    dimension: d, the length of parameters and updates.
    fewest_records: an agent with fewer of them, `len(records)`, takes no part. At the recipe's noise, so many
    records that all pull one way move an update by about one standard deviation of the noise; fewer would
    spend their privacy for nothing that anyone could see.
    """

    name: str
    version: int
    record: str
    dimension: int
    fewest_records: int
    metric_name: str
    higher_is_better: bool
    baseline_name: str
    card: ModelCard

    def load(self, path: Path) -> Records:
        """Read a participant's CSV; InputError names the row, the column and the remedy."""
        ...

    def initial_parameters(self) -> Parameters:
        """Where every run starts, shape (d,); the same bits on every machine."""
        ...

    def evaluate(self, parameters: Parameters, records: Records) -> Evaluation:
        """Loss, metric and baseline on the records' held-out part, which training never sees."""
        ...

    def template(self) -> bytes:
        """The model as ONNX, with a marker for its parameters: dynamic batch, standard operators.

        The same bytes on every machine: a plan names their digest, and agents compare it with their own.
        `protocols.model_file.expected_model` makes the model of some parameters from it.
        """
        ...

    def inputs(self, records: Records) -> Arrays:
        """Inputs of the exported model for a participant's records: one row each, in their order.

        Further rows may follow, if `describe` needs what the model says of them.
        """
        ...

    def reference(self, parameters: Parameters, inputs: Arrays) -> Arrays:
        """What torch computes for these inputs: the exported model must agree to 1e-5."""
        ...

    def describe(self, records: Records, outputs: Arrays) -> list[str]:
        """The exported model's outputs for `inputs(records)` as a few lines for people."""
        ...


@runtime_checkable
class ReleaseTask(Task[Records], Protocol[Records]):
    """A task whose update the participant computes by itself; proven is only how long the update is."""

    def update(self, parameters: Parameters, records: Records, clipping: Clipping) -> Update:
        """The sum of one integer vector per training record, each of L2 norm at most `record_bound`.

        The direction is the one to be added to the parameters. The sum is projected onto the ball of
        radius `update_bound`; `clipping.project` says what that does to the record-level sensitivity.
        """
        ...


@runtime_checkable
class DataBoundTask(Task[Records], Protocol[Records]):
    """A task whose update follows from enrolled integer records, by a statistics or a glm statement.

    columns: features of a record, 1 to 1024. row_bound: bound on each record's integer L2 norm, at most
    1023, so that every feature is at most that too. entries: `uniform` if a record's features that are not 0
    are all equal, which is much cheaper to prove of many columns. record_norm: the real norm that `row_bound`
    stands for. A plan for the task must have the same values.
    """

    columns: int
    row_bound: int
    label: Label
    entries: Entries
    record_norm: str

    def dataset(self, records: Records) -> tuple[Features, Labels | None]:
        """The training records, in the order of the file; labels are None if `label` is `none`.

        A record's vector depends on that record alone, so that records appended to a file append rows.
        """
        ...
