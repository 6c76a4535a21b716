"""TOML files that people write: settings, one file a role, and the choices for a plan."""

import tomllib
from pathlib import Path
from typing import Any, TypeVar

import tomli_w
from pydantic import BaseModel, ValidationError

from intertwine.protocols.document import describe
from intertwine.protocols.errors import InputError
from intertwine.protocols.files import read_bounded, write_private

MAX_SETTINGS_BYTES = 1 << 16

Settings = TypeVar("Settings", bound=BaseModel)


def read_settings(path: Path, model: type[Settings]) -> Settings:
    """Read and validate a settings file; InputError names the file and the field."""
    try:
        return model.model_validate(read_toml(path, MAX_SETTINGS_BYTES))
    except ValidationError as error:
        raise InputError(f"{path}: {describe(error)}", "Correct the field.") from error


def read_toml(path: Path, limit: int) -> dict[str, Any]:
    """The table in a TOML file of at most `limit` bytes; InputError if it holds none."""
    text = read_bounded(path, limit)
    try:
        return tomllib.loads(text.decode())
    except RecursionError:
        problem = "it is nested too deeply"
    except ValueError as error:  # no UTF-8, no TOML, or a number of thousands of digits
        problem = str(error)
    raise InputError(f"{path} is not valid TOML: {problem}.", "Correct it, or restore a backup.")


def write_settings(path: Path, settings: BaseModel) -> None:
    """Write settings atomically, readable by their owner alone."""
    write_private(path, tomli_w.dumps(settings.model_dump(mode="json", exclude_none=True)).encode())
