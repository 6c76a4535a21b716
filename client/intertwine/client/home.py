"""The agent's home folder: keys, settings, ledger and models of one participant.

settings.toml   who we are, where the coordinator is, our data and limits
signing.key     Ed25519 key of our commits and releases (0600); while it is replaced, with signing.key.new
node.key        ECDSA P-384 key of our Flower SuperNode (0600), with node.key.pub
access.token    secret towards the control plane (0600)
ca.crt          the coordinator's CA, pinned at enrolment
ledger.db       every slot we took part in, what it cost, and every record that we enrolled (0600)
ledger.lock     an empty file; who uses or replaces the ledger holds its lock
run.lock        an empty file; the agent that runs here holds its lock
models/         published models that we downloaded and checked, with their signed records
api-keys.toml   who may ask us for predictions: digests of their keys (0600)
"""

from dataclasses import dataclass, fields, replace
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field

from intertwine.client.identity import Identity
from intertwine.client.policy import Policy
from intertwine.models.recipes import recipe
from intertwine.protocols.errors import InputError
from intertwine.protocols.files import require_files
from intertwine.protocols.settings import read_settings
from intertwine.protocols.signing import SigningKey

DEFAULT_MAX_EPSILON = 10.0
_BACKUP = "Restore it from a backup; without one, enrol again in another home, under another name."


class TaskSettings(BaseModel):
    """One task that this participant joins.

    data: its file. max_epsilon: the most that all releases of the task together may cost one record. The
    others are limits of one run, see `Policy`; what is left out is as the task's recipe has it.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    data: Path
    max_epsilon: float = Field(default=DEFAULT_MAX_EPSILON, gt=0)
    min_noise: float | None = Field(default=None, gt=0)
    max_record_norm: float | None = Field(default=None, gt=0)
    max_rounds: int | None = Field(default=None, ge=1, le=1000)
    max_delta: float | None = Field(default=None, gt=0, lt=1)

    def policy(self, task: str) -> Policy:
        """What a run of the task may ask for; InputError if the task has no recipe."""
        chosen = {field.name: getattr(self, field.name) for field in fields(Policy)}
        return replace(
            Policy.of(recipe(task)), **{name: limit for name, limit in chosen.items() if limit is not None}
        )


class AgentSettings(BaseModel):
    """What enrolment wrote; edit data and limits as you like."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    participant: str
    role: str
    deployment: str
    log_origin: str
    fleet_address: str
    control_url: str
    tasks: dict[str, TaskSettings]


@dataclass(frozen=True)
class Home:
    """Paths of one agent."""

    path: Path

    @classmethod
    def open(cls, path: Path) -> "Home":
        """An enrolled agent's home; InputError if enrolment never finished there, or a file is gone."""
        home = cls.find(path)
        files = (home.signing_key_file, home.node_key, home.access_token, home.authority)
        require_files(dict.fromkeys(files, _BACKUP))
        return home

    @classmethod
    def find(cls, path: Path) -> "Home":
        """The same, which may lack files; InputError if enrolment never finished there."""
        home = cls(path)
        if not home.settings_file.is_file():
            raise InputError(
                f"{path} is not an enrolled agent's home.",
                "Run: intertwine agent enroll --coordinator URL --token TOKEN --home FOLDER",
            )
        return home

    @property
    def settings_file(self) -> Path:
        """The TOML file."""
        return self.path / "settings.toml"

    @property
    def settings(self) -> AgentSettings:
        """The settings as the file has them now."""
        return read_settings(self.settings_file, AgentSettings)

    @property
    def identity(self) -> Identity:
        """Who we are, and whom we trust."""
        settings = self.settings
        return Identity(settings.participant, settings.deployment, settings.log_origin, self.signing_key)

    @property
    def signing_key_file(self) -> Path:
        """The Ed25519 key's file."""
        return self.path / "signing.key"

    @property
    def signing_key(self) -> SigningKey:
        """The key of our commits and releases."""
        return SigningKey.read(self.signing_key_file)

    @property
    def next_signing_key_file(self) -> Path:
        """The key that is to replace the signing key; there only while that is under way."""
        return self.path / "signing.key.new"

    @property
    def signing_key_lock(self) -> Path:
        """An empty file; who uses or replaces the signing key holds its lock."""
        return self.path / "signing.key.lock"

    @property
    def node_key(self) -> Path:
        """The SuperNode's private key."""
        return self.path / "node.key"

    @property
    def access_token(self) -> Path:
        """The secret towards the control plane."""
        return self.path / "access.token"

    @property
    def authority(self) -> Path:
        """The pinned CA."""
        return self.path / "ca.crt"

    @property
    def ledger(self) -> Path:
        """The SQLite database."""
        return self.path / "ledger.db"

    @property
    def run_lock(self) -> Path:
        """An empty file; the agent that runs holds its lock."""
        return self.path / "run.lock"

    @property
    def models(self) -> Path:
        """Downloaded models."""
        return self.path / "models"

    @property
    def api_keys(self) -> Path:
        """Digests of the API keys of `serve`."""
        return self.path / "api-keys.toml"

    @property
    def flower(self) -> Path:
        """The SuperNode's own folder."""
        return self.path / "flower"
