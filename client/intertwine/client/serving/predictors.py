"""The predictor of each task in use: loaded when its model was checked, and replaced in one step.

A request takes the predictor once and keeps it to its end, so that a new model drops and mixes nothing.
"""

import logging
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any, Generic, Literal, Protocol, TypeAlias, TypeVar

from intertwine.client.home import Home
from intertwine.client.published import PublishedModel, fetch, kept
from intertwine.client.serving.errors import MissingModelError
from intertwine.client.serving.metrics import Metrics
from intertwine.models.task import Task
from intertwine.protocols.errors import FederationError, IntertwineError

State: TypeAlias = Literal["ready", "stale", "absent"]
"""`stale`: the last look at the coordinator failed, so that there may be a newer model. It predicts."""
_log = logging.getLogger(__name__)


class Predictor(Protocol):
    """A model with what the participant's own records add to it."""

    @property
    def model(self) -> PublishedModel:
        """The model that predicts."""
        ...


P = TypeVar("P", bound=Predictor)


class Slot(Generic[P]):
    """The predictor of one task: none at first, and later never an older one."""

    def __init__(
        self, home: Home, definition: Task[Any], build: Callable[[PublishedModel], P], metrics: Metrics
    ) -> None:
        """build: makes a predictor of a checked model."""
        self.definition = definition
        self._home = home
        self._build = build
        self._metrics = metrics
        self._predictor: P | None = None
        self._problem: IntertwineError | None = None

    @property
    def state(self) -> State:
        """How the task stands."""
        if self._predictor is None:
            return "absent"
        return "stale" if self._problem else "ready"

    @property
    def model(self) -> PublishedModel | None:
        """The model in use."""
        predictor = self._predictor
        return predictor.model if predictor else None

    @property
    def problem(self) -> IntertwineError | None:
        """Why the newest model is not in use, as far as is known."""
        return self._problem

    def current(self) -> P:
        """The predictor to answer a request with; MissingModelError if there is none."""
        predictor = self._predictor
        if predictor is not None:
            return predictor
        reason = f" {self._problem}" if self._problem else ""
        raise MissingModelError(
            f"There is no model of task {self.definition.name!r} yet.{reason}",
            "Try again once the federation has published one; /readyz says how it stands.",
        )

    def load(self) -> None:
        """Use the model that was kept last, if there is one; needs no coordinator."""
        try:
            model = kept(self._home, self.definition)
            if model is not None:
                self._use(model)
        except IntertwineError as error:
            self._report(error)

    def refresh(self) -> None:
        """Use the newest published model, if it is newer than the one in use."""
        try:
            model, before = fetch(self._home, self.definition), self._predictor
            swapped = before is None or model.position > before.model.position
            if swapped:
                self._use(model)
            self._problem = None
            self._count("swapped" if swapped else "unchanged")
        except IntertwineError as error:
            self._report(error)
            self._count("unreachable" if isinstance(error, FederationError) else "refused")

    def _use(self, model: PublishedModel) -> None:
        self._predictor = self._build(model)
        publication, name = model.publication, self.definition.name
        self._metrics.position.labels(name).set(model.position)
        self._metrics.published.labels(name).set(publication.time)
        _log.info(
            "a model predicts from now on: sha256 %s, published at position %d of the log",
            *(publication.onnx, model.position),
            extra={"task": name, "run": publication.round.run, "round": publication.round.number},
        )

    def _report(self, error: IntertwineError) -> None:
        """Log a problem once, not at every look."""
        if str(error) != str(self._problem):
            _log.warning("the newest model is not in use: %s", error, extra={"task": self.definition.name})
        self._problem = error

    def _count(self, result: str) -> None:
        self._metrics.checks.labels(self.definition.name, result).inc()


@contextmanager
def refreshing(slots: Iterable[Slot[Any]], interval_s: float) -> Iterator[None]:
    """Look for newer models at once and every `interval_s` seconds, in a thread, within the block."""
    stop = threading.Event()

    def look() -> None:
        while True:
            for slot in slots:
                try:
                    slot.refresh()
                except Exception:
                    task = {"task": slot.definition.name}
                    _log.exception("the model could not be refreshed", extra=task)
            if stop.wait(interval_s):
                return

    thread = threading.Thread(target=look, name="models", daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join(timeout=1.0)
