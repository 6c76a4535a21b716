"""Settings files: one TOML file a role, validated as a whole."""

import tomllib
from pathlib import Path
from typing import TypeVar

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
        values = tomllib.loads(read_bounded(path, MAX_SETTINGS_BYTES).decode())
        return model.model_validate(values)
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise InputError(f"{path} is not valid TOML: {error}.", "Correct it or restore a backup.") from error
    except ValidationError as error:
        raise InputError(f"{path}: {describe(error)}", "Correct the field.") from error


def write_settings(path: Path, settings: BaseModel) -> None:
    """Write settings atomically, readable by their owner alone."""
    write_private(path, tomli_w.dumps(settings.model_dump(mode="json", exclude_none=True)).encode())
