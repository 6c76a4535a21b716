"""The coordinator's home folder: keys, certificates, settings and where everything else lies.

settings.toml      addresses and ports
signing.key        Ed25519 key of log, plans and requests (0600)
ca.crt ca.key      certificate authority of this deployment (key 0600)
tls.crt tls.key    certificate of both servers (key 0600)
coordinator.db     log, participants, invitations, runs
blobs/             updates, proofs, parameters, ONNX files by digest
flower/            state of Flower's SuperLink
witnesses.policy   who must co-sign the log's checkpoints; written by hand, if at all
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from intertwine.protocols.errors import InputError
from intertwine.protocols.files import make_private_directory
from intertwine.protocols.settings import read_settings, write_settings
from intertwine.protocols.signing import SigningKey
from intertwine.server.certificates import issue_authority, issue_certificate

Port = Annotated[int, Field(ge=1, le=65_535)]


class CoordinatorSettings(BaseModel):
    """What `init` decided; edit the file and restart to change it."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    host: str
    fleet_port: Port
    control_port: Port

    @property
    def fleet_address(self) -> str:
        """Where participants' SuperNodes connect."""
        return f"{self.host}:{self.fleet_port}"

    @property
    def control_url(self) -> str:
        """Where participants enrol and fetch models."""
        return f"https://{self.host}:{self.control_port}"


@dataclass(frozen=True)
class Home:
    """Paths of one coordinator."""

    path: Path

    @classmethod
    def create(cls, path: Path, settings: CoordinatorSettings) -> "Home":
        """Make a home; what exists already is kept, so that running it twice is safe."""
        home = cls(path)
        make_private_directory(path)
        make_private_directory(home.blobs)
        make_private_directory(home.flower)
        if not home.signing_key_file.exists():
            SigningKey.generate().write(home.signing_key_file)
        if not home.authority.exists():
            issue_authority(home.authority, home.authority_key)
        if not home.certificate.exists():
            issue_certificate(
                home.authority, home.authority_key, home.certificate, home.certificate_key, settings.host
            )
        if not home.settings_file.exists():
            write_settings(home.settings_file, settings)
        return home

    @classmethod
    def open(cls, path: Path) -> "Home":
        """An existing home; InputError if `init` never finished there."""
        home = cls(path)
        if not home.settings_file.is_file():
            raise InputError(
                f"{path} is not a coordinator's home.", f"Run: intertwine coordinator init --home {path}"
            )
        return home

    @property
    def settings_file(self) -> Path:
        """The TOML file."""
        return self.path / "settings.toml"

    @property
    def settings(self) -> CoordinatorSettings:
        """The settings as the file has them now."""
        return read_settings(self.settings_file, CoordinatorSettings)

    @property
    def signing_key_file(self) -> Path:
        """The Ed25519 key's file."""
        return self.path / "signing.key"

    @property
    def signing_key(self) -> SigningKey:
        """The key of log, plans and requests."""
        return SigningKey.read(self.signing_key_file)

    @property
    def authority(self) -> Path:
        """The CA's certificate."""
        return self.path / "ca.crt"

    @property
    def authority_key(self) -> Path:
        """The CA's private key."""
        return self.path / "ca.key"

    @property
    def certificate(self) -> Path:
        """The servers' certificate."""
        return self.path / "tls.crt"

    @property
    def certificate_key(self) -> Path:
        """The servers' private key."""
        return self.path / "tls.key"

    @property
    def database(self) -> Path:
        """The SQLite database."""
        return self.path / "coordinator.db"

    @property
    def blobs(self) -> Path:
        """Files named by their SHA-256."""
        return self.path / "blobs"

    @property
    def flower(self) -> Path:
        """SuperLink's own folder."""
        return self.path / "flower"

    @property
    def policy_file(self) -> Path:
        """The policy with the log's witnesses."""
        return self.path / "witnesses.policy"

    @property
    def process_file(self) -> Path:
        """The process id of a running `up`."""
        return self.path / "up.pid"
