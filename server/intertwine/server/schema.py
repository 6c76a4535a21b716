"""The database's schema, which Alembic's migrations in `migrations/versions/` make and nothing else does."""

import threading
from pathlib import Path

from sqlalchemy import Connection, inspect, text

from intertwine.protocols.errors import InputError

MIGRATIONS = Path(__file__).with_name("migrations")
_ALEMBIC = threading.Lock()
"""Alembic keeps what it works on in global variables."""


def is_current(connection: Connection) -> bool:
    """Whether the schema is this release's; InputError if it is a newer one's."""
    known = [path.stem.split("_")[0].removeprefix("r") for path in (MIGRATIONS / "versions").glob("r*.py")]
    revision = _revision(connection)
    if revision is not None and revision not in known:
        raise InputError(
            f"The database has schema {revision}, which is newer than this release.",
            "Install the release that it was last used with, or a later one.",
        )
    return revision == max(known)


def upgrade(connection: Connection) -> None:
    """Bring the schema up to date within the connection's transaction; nothing happens if it is."""
    if is_current(connection):
        return
    # Loaded where there is something to do, which is seldom: every command opens the database.
    from alembic import command  # noqa: PLC0415
    from alembic.config import Config  # noqa: PLC0415

    config = Config(attributes={"connection": connection})
    config.set_main_option("script_location", str(MIGRATIONS).replace("%", "%%"))
    with _ALEMBIC:
        command.upgrade(config, "head")


def _revision(connection: Connection) -> str | None:
    """The schema's revision; None if the database is empty."""
    if not inspect(connection).has_table("alembic_version"):
        return None
    revision: str | None = connection.scalar(text("SELECT version_num FROM alembic_version"))
    return revision
