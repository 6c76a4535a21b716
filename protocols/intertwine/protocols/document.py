"""Typed documents: frozen, strict, without unknown fields, and with one byte encoding each."""

from typing import Annotated, Self, TypeAlias

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from intertwine.protocols.checkpoint import MAX_CHECKPOINT_BYTES
from intertwine.protocols.encoding import decode, encode, sha256
from intertwine.protocols.errors import InputError

Hex32: TypeAlias = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
Hex32OrEmpty: TypeAlias = Annotated[str, Field(pattern=r"^([0-9a-f]{64})?$")]
Hex64: TypeAlias = Annotated[str, Field(pattern=r"^[0-9a-f]{128}$")]
Point: TypeAlias = Annotated[str, Field(pattern=r"^[0-9a-f]{96}$")]
Name: TypeAlias = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9-]{0,62}$")]
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
            raise InputError(f"{cls.__name__}: {describe(error)}") from error
        except (TypeError, ValueError) as error:
            raise InputError(f"{cls.__name__}: the document is not canonical JSON.") from error
        if document.encode() != data:
            raise InputError(f"{cls.__name__}: a field that has only one value is missing.", "Write it out.")
        return document


def describe(error: ValidationError) -> str:
    """The first validation failure in one sentence: field, and what was expected."""
    first = error.errors(include_url=False, include_input=False)[0]
    field = ".".join(str(part) for part in first["loc"]) or "document"
    return f"field {field}: {first['msg']}."
