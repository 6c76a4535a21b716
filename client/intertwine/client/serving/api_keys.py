"""API keys: who may ask for predictions. The file holds digests, so that nobody can use what it says.

A key is 256 random bits, so its plain SHA-256 digest can be neither guessed nor inverted. Keys that are added
or removed while the agent serves count from the next request on.
"""

import hmac
import secrets
import time
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from intertwine.protocols.document import Hex32, Name, Timestamp
from intertwine.protocols.encoding import sha256
from intertwine.protocols.errors import InputError
from intertwine.protocols.settings import read_settings, write_settings

MAX_KEYS = 100
PREFIX = "itwk_"


class ApiKey(BaseModel):
    """A key's digest, and when it was added, in seconds since 1970."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    digest: Hex32
    added: Timestamp


class _File(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    keys: Annotated[dict[Name, ApiKey], Field(max_length=MAX_KEYS)] = {}


class ApiKeys:
    """The keys in one file, readable by its owner alone."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._version: tuple[int, int] | None = None
        self._keys: dict[str, ApiKey] = {}

    def all(self) -> dict[str, ApiKey]:
        """Every key by its name, as the file has them now."""
        try:
            status = self._path.stat()
        except FileNotFoundError:
            return {}
        version = (status.st_ino, status.st_mtime_ns)
        if version != self._version:
            self._keys = read_settings(self._path, _File).keys
            self._version = version
        return self._keys

    def add(self, name: str) -> str:
        """Make a key and return it; only its digest is kept. InputError if the name is taken or unfit."""
        keys = self.all()
        if name in keys:
            raise InputError(
                f"There is an API key {name!r} already.", "Remove it first, or use another name."
            )
        if len(keys) >= MAX_KEYS:
            raise InputError(f"There are {MAX_KEYS} API keys already.", "Remove those that nobody uses.")
        key = PREFIX + secrets.token_hex(32)
        try:
            added = ApiKey(digest=sha256(key.encode()), added=int(time.time()))
            file = _File.model_validate({"keys": {**keys, name: added}})
        except ValidationError as error:
            problem = f"{name!r} cannot be the name of an API key."
            raise InputError(problem, "Use lower-case letters, digits and hyphens, at most 63.") from error
        write_settings(self._path, file)
        return key

    def remove(self, name: str) -> None:
        """Make a key void; InputError if there is none of that name."""
        keys = dict(self.all())
        if keys.pop(name, None) is None:
            raise InputError(f"There is no API key {name!r}.", "See: intertwine agent api-key list")
        write_settings(self._path, _File(keys=keys))

    def holds(self, key: str) -> bool:
        """Whether somebody may use this key; takes as long whichever it is."""
        digest = sha256(key.encode())
        found = False
        for each in self.all().values():
            found |= hmac.compare_digest(each.digest, digest)
        return found
