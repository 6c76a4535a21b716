"""Typed documents: frozen, strict, without unknown fields, and with one byte encoding each."""

from typing import Annotated, Self, TypeAlias

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from intertwine.protocols.checkpoint import MAX_CHECKPOINT_BYTES
from intertwine.protocols.encoding import MAX_DEPTH, decode, encode, sha256
from intertwine.protocols.errors import InputError

Hex32: TypeAlias = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
Hex32OrEmpty: TypeAlias = Annotated[str, Field(pattern=r"^([0-9a-f]{64})?$")]
Hex64: TypeAlias = Annotated[str, Field(pattern=r"^[0-9a-f]{128}$")]
Point: TypeAlias = Annotated[str, Field(pattern=r"^[0-9a-f]{96}$")]
NAME_PATTERN = r"^[a-z0-9][a-z0-9-]{0,62}$"
Name: TypeAlias = Annotated[str, Field(pattern=NAME_PATTERN)]
Decimal: TypeAlias = Annotated[str, Field(pattern=r"^-?[0-9]{1,12}(\.[0-9]{1,12})?(e-?[0-9]{1,2})?$")]
Note: TypeAlias = Annotated[str, Field(max_length=MAX_CHECKPOINT_BYTES)]
Timestamp: TypeAlias = Annotated[int, Field(ge=0, le=2**40)]


class Document(BaseModel):
    """Base of every document that is signed, hashed or stored."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    def encode(self) -> bytes:
        """The canonical bytes."""
        return encode(self.model_dump(mode="json"))

    def digest(self) -> str:
        """SHA-256 of the canonical bytes, in hexadecimal."""
        return sha256(self.encode())

    @classmethod
    def decode(cls, data: bytes) -> Self:
        """Parse canonical bytes; InputError naming the first field at fault."""
        return cls.parse(decode(data))

    @classmethod
    def parse(cls, value: object) -> Self:
        """Validate an already parsed JSON value; InputError naming the first field at fault."""
        try:
            data = encode(value)
            document = cls.model_validate_json(data)
        except ValidationError as error:
            raise InputError(f"{cls.__name__}: {describe(error)}", "Correct that field.") from error
        except (TypeError, ValueError) as error:
            raise InputError(
                f"{cls.__name__}: field {_without_encoding(value)}: {error}.",
                'Write a real number or a date in quotes, like "0.5", and integers up to 2^53 - 1.',
            ) from error
        if document.encode() != data:
            raise InputError(f"{cls.__name__}: a field that has only one value is missing.", "Write it out.")
        return document


def describe(error: ValidationError) -> str:
    """The first validation failure in one sentence: field, and what was expected."""
    first = error.errors(include_url=False, include_input=False)[0]
    expected = first["msg"].removeprefix("Value error, ")
    if first.get("ctx", {}).get("pattern") == NAME_PATTERN:
        expected = "it must be lower-case letters, digits and hyphens, 63 at most"
    if first["type"] == "value_error" and not first["loc"]:
        return f"field {expected}."  # a rule of ours about several fields says which
    return f"field {'.'.join(map(str, first['loc'])) or 'document'}: {expected}."


def _without_encoding(value: object, depth: int = 0) -> str:
    """The path to the first part of a value that has no canonical form, if it is no deeper than they go."""
    parts = value.items() if isinstance(value, dict) else enumerate(value if isinstance(value, list) else ())
    for key, part in parts:
        try:
            encode(part)
        except (TypeError, ValueError):
            below = _without_encoding(part, depth + 1) if depth < MAX_DEPTH else ""
            return f"{key}.{below}" if below else str(key)
    return ""
