"""The coordinator's home folder: keys, certificates, settings and where everything else lies.

settings.toml      names, addresses and ports
signing.key        Ed25519 key of log, plans and requests (0600)
ca.crt ca.key      certificate authority of this deployment (key 0600)
tls.crt tls.key    certificate of both servers (key 0600)
coordinator.db     log, participants, invitations, runs, unless they are in PostgreSQL
log.begun          in which database they are
blobs/             updates, proofs, parameters, ONNX files by digest
flower/            state of Flower's SuperLink
runs.log           what the processes that drive runs log; `up` repeats it
drivers/           empty files that the processes that drive runs hold locks on
up.pid             the number of a running `up`, which holds a lock on it
witnesses.policy   who must co-sign the log's checkpoints; written by hand, if at all
"""

import ipaddress
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, TypeAlias

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from intertwine.protocols.document import describe
from intertwine.protocols.errors import InputError
from intertwine.protocols.files import make_home, make_private_directory, require_files
from intertwine.protocols.settings import read_settings, write_settings
from intertwine.protocols.signing import SigningKey
from intertwine.server.certificates import (
    certificate_hosts,
    issue_authority,
    read_certificate,
    renew_certificate,
)

Port: TypeAlias = Annotated[int, Field(ge=1, le=65_535)]
LOOPBACK_ADDRESS = "127.0.0.1"
_BACKUP = "Restore it from a backup."
_DNS_NAME = re.compile(
    r"(?=.{1,253}$)[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?(\.[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?)*", re.I
)


def _public_host(value: str) -> str:
    """A DNS name or IP address that other machines can connect to."""
    try:
        address = ipaddress.ip_address(value)
    except ValueError:
        if _DNS_NAME.fullmatch(value) is None:
            raise ValueError("it is neither a DNS name nor an IP address") from None
        return value.lower()
    if address.is_unspecified:
        raise ValueError("nobody can connect to it; set bind to listen on every address")
    return str(address)


def _address(value: str) -> str:
    try:
        return str(ipaddress.ip_address(value))
    except ValueError:
        raise ValueError("it is not an IP address") from None


PublicHost: TypeAlias = Annotated[str, AfterValidator(_public_host)]


class CoordinatorSettings(BaseModel):
    """What `init` decided; edit the file and restart to change it.

    host: the name or address by which participants reach us. bind: the local address that control plane and
    Fleet proxy listen on. superlink_port: where the SuperLink itself listens, on loopback. database_url: a
    PostgreSQL database; empty for the home's own SQLite.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    host: PublicHost = LOOPBACK_ADDRESS
    bind: Annotated[str, AfterValidator(_address)] = LOOPBACK_ADDRESS
    fleet_port: Port = 9092
    control_port: Port = 8443
    superlink_port: Port = 9093
    database_url: str = Field(default="", repr=False)

    @property
    def fleet_address(self) -> str:
        """Where participants' SuperNodes connect."""
        return _joined(self.host, self.fleet_port)

    @property
    def control_url(self) -> str:
        """Where participants enrol and fetch models."""
        return f"https://{_joined(self.host, self.control_port)}"

    @property
    def superlink_address(self) -> str:
        """Where this machine's own processes reach the SuperLink."""
        return _joined(LOOPBACK_ADDRESS, self.superlink_port)


def _joined(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


@dataclass(frozen=True)
class Home:
    """Paths of one coordinator."""

    path: Path

    @classmethod
    def create(
        cls, path: Path, settings: CoordinatorSettings, other_hosts: Collection[str] | None = None
    ) -> "Home":
        """Make a home, or give one other settings; keys and CA are kept, so that running it twice is safe.

        other_hosts: what the certificate is for besides settings.host; None for those that it has.
        InputError if a key is lost that the log was begun with: a new one would be no remedy.
        """
        home = cls(path)
        make_home(path, home.settings_file)
        if home.log_begun.exists() or home.database.exists():
            home.require_keys()
        make_private_directory(home.blobs)
        make_private_directory(home.flower)
        if not home.signing_key_file.exists():
            SigningKey.generate().write(home.signing_key_file)
        if not home.authority.exists():
            issue_authority(home.authority, home.authority_key)
        hosts = {settings.host, *(home.certificate_hosts if other_hosts is None else other_hosts)}
        renew_certificate(home.authority, home.authority_key, home.certificate, home.certificate_key, hosts)
        if not home.settings_file.exists() or home.settings != settings:
            write_settings(home.settings_file, settings)
        return home

    @classmethod
    def init(cls, path: Path, hosts: Sequence[str], choices: Mapping[str, object]) -> "Home":
        """Make a home, or change one, as an operator says; what is not said stays as it is.

        hosts: the public names and addresses, the first of them for invitations. choices: other fields of the
        settings. InputError, before anything is written, if one of them cannot be used.
        """
        home = cls(path)
        known = home.settings.model_dump() if home.settings_file.is_file() else {}
        named = {"host": hosts[0]} if hosts else {}
        try:
            settings = CoordinatorSettings.model_validate({**known, **choices, **named})
            others = TypeAdapter(list[PublicHost]).validate_python(hosts[1:]) if hosts else None
        except ValidationError as error:
            raise InputError(describe(error), "Choose another value.") from error
        return cls.create(path, settings, others)

    @classmethod
    def open(cls, path: Path) -> "Home":
        """An existing home; InputError if `init` never finished there, or a key or certificate is gone."""
        home = cls.find(path)
        home.require_keys()
        again = f"Run: intertwine coordinator init --home {path}"
        require_files({home.authority: _BACKUP, home.certificate: again, home.certificate_key: again})
        return home

    @classmethod
    def find(cls, path: Path) -> "Home":
        """An existing home, which may lack files; InputError if `init` never finished there."""
        home = cls(path)
        if not home.settings_file.is_file():
            raise InputError(
                f"{path} is not a coordinator's home.", f"Run: intertwine coordinator init --home {path}"
            )
        return home

    def require_keys(self) -> None:
        """InputError if the log's key is lost, or half of the CA; who replaces the CA removes both files."""
        require_files({self.signing_key_file: f"{_BACKUP} Without it, this deployment has ended."})
        if self.authority_key.exists():
            require_files({self.authority: f"{_BACKUP} To replace the CA, move ca.key away too."})

    @property
    def settings_file(self) -> Path:
        """The TOML file."""
        return self.path / "settings.toml"

    @property
    def settings(self) -> CoordinatorSettings:
        """The settings as the file has them now."""
        return read_settings(self.settings_file, CoordinatorSettings)

    @property
    def certificate_hosts(self) -> frozenset[str]:
        """Names and addresses of the servers' certificate; none if there is no certificate yet."""
        if not self.certificate.exists():
            return frozenset()
        return certificate_hosts(read_certificate(self.certificate))

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
        """The SQLite database, unless the settings or the environment name another."""
        return self.path / "coordinator.db"

    @property
    def log_begun(self) -> Path:
        """Says in which database the log was begun; there is one once there is a log."""
        return self.path / "log.begun"

    @property
    def blobs(self) -> Path:
        """Files named by their SHA-256."""
        return self.path / "blobs"

    @property
    def flower(self) -> Path:
        """SuperLink's own folder."""
        return self.path / "flower"

    @property
    def runs_log(self) -> Path:
        """What the processes that drive runs log; Flower lets them have no other output."""
        return self.path / "runs.log"

    @property
    def drivers(self) -> Path:
        """Locks of the processes that drive runs."""
        return self.path / "drivers"

    @property
    def policy_file(self) -> Path:
        """The policy with the log's witnesses."""
        return self.path / "witnesses.policy"

    @property
    def process_file(self) -> Path:
        """The process id of a running `up`, which holds a lock on it; see `up.running`."""
        return self.path / "up.pid"
