"""What the requests and answers of all endpoints have in common."""

import re
from datetime import date
from typing import Annotated, Self, TypeAlias

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from intertwine.client.published import PublishedModel


class Query(BaseModel):
    """A request: strictly typed, without unknown fields, and with finite numbers only."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, allow_inf_nan=False)


class ModelReference(BaseModel):
    """The model that predicted, as the coordinator's log has it.

    log_position: of its publication. published: in seconds since 1970. onnx_sha256: the file's digest.
    """

    model_config = ConfigDict(frozen=True)

    task: str
    run: str
    round: int
    log_position: int
    published: int
    onnx_sha256: Annotated[str, Field(pattern="^[0-9a-f]{64}$")]

    @classmethod
    def of(cls, model: PublishedModel) -> Self:
        """The reference to a checked model."""
        publication = model.publication
        return cls(
            task=publication.round.task,
            run=publication.round.run,
            round=publication.round.number,
            log_position=model.position,
            published=publication.time,
            onnx_sha256=publication.onnx,
        )


def _day(value: object) -> date:
    # pydantic would take a number for seconds since 1970 as well.
    if not isinstance(value, str) or not re.fullmatch(r"[0-9]{4}-[0-9]{2}-[0-9]{2}", value):
        raise ValueError("it is not a date of the form YYYY-MM-DD")
    return date.fromisoformat(value)


Day: TypeAlias = Annotated[date, BeforeValidator(_day)]
"""A date in the form YYYY-MM-DD, and in no other."""


def _whole(value: object) -> object:
    return int(value) if isinstance(value, float) and value.is_integer() else value


WHOLE = BeforeValidator(_whole)
"""Lets a whole number be written 5.0 as well: JSON knows one kind of number only."""
