"""The tables of the first release."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None


def upgrade() -> None:
    """Create them."""
    _log()
    _members()
    _runs()


def _log() -> None:
    op.create_table(
        "entries",
        sa.Column("position", sa.Integer, autoincrement=False, nullable=False),
        sa.Column("data", sa.LargeBinary, nullable=False),
        sa.Column("leaf", sa.LargeBinary, nullable=False),
        sa.Column("run", sa.String, nullable=False),
        sa.PrimaryKeyConstraint("position", name="pk_entries"),
    )
    op.create_index("ix_entries_run", "entries", ["run"])
    op.create_table(
        "named_blobs",
        sa.Column("digest", sa.String, nullable=False),
        sa.PrimaryKeyConstraint("digest", name="pk_named_blobs"),
    )
    op.create_table(
        "publications",
        sa.Column("position", sa.Integer, autoincrement=False, nullable=False),
        sa.Column("task", sa.String, nullable=False),
        sa.PrimaryKeyConstraint("position", name="pk_publications"),
    )
    op.create_index("ix_publications_task", "publications", ["task"])
    op.create_table(
        "cosigned_notes",
        sa.Column("size", sa.Integer, autoincrement=False, nullable=False),
        sa.Column("note", sa.String, nullable=False),
        sa.PrimaryKeyConstraint("size", name="pk_cosigned_notes"),
    )


def _members() -> None:
    op.create_table(
        "participants",
        sa.Column("name", sa.String, nullable=False),
        sa.Column("role", sa.String, nullable=False),
        sa.Column("tasks", sa.JSON, nullable=False),
        sa.Column("signing_key", sa.String, nullable=False),
        sa.Column("node_key", sa.String, nullable=False),
        sa.Column("node_id", sa.String, nullable=False),
        sa.Column("access_digest", sa.String, nullable=False),
        sa.PrimaryKeyConstraint("name", name="pk_participants"),
        sa.UniqueConstraint("signing_key", name="uq_participants_signing_key"),
        sa.UniqueConstraint("node_key", name="uq_participants_node_key"),
        sa.UniqueConstraint("access_digest", name="uq_participants_access_digest"),
    )
    op.create_table(
        "key_changes",
        sa.Column("participant", sa.String, nullable=False),
        sa.Column("sequence", sa.Integer, nullable=False),
        sa.Column("old_key", sa.String, nullable=False),
        sa.Column("new_key", sa.String, nullable=False),
        sa.Column("document", sa.LargeBinary, nullable=False),
        sa.PrimaryKeyConstraint("participant", "sequence", name="pk_key_changes"),
        sa.UniqueConstraint("old_key", name="uq_key_changes_old_key"),
        sa.UniqueConstraint("new_key", name="uq_key_changes_new_key"),
    )
    op.create_table(
        "revocations",
        sa.Column("participant", sa.String, nullable=False),
        sa.PrimaryKeyConstraint("participant", name="pk_revocations"),
    )
    op.create_table(
        "invitations",
        sa.Column("secret_digest", sa.String, nullable=False),
        sa.Column("participant", sa.String, nullable=False),
        sa.Column("role", sa.String, nullable=False),
        sa.Column("tasks", sa.JSON, nullable=False),
        sa.Column("expires", sa.BigInteger, nullable=False),
        sa.Column("used", sa.Boolean, nullable=False),
        sa.PrimaryKeyConstraint("secret_digest", name="pk_invitations"),
    )
    op.create_table(
        "access_grants",
        sa.Column("number", sa.Integer, autoincrement=False, nullable=False),
        sa.Column("name", sa.String, nullable=False),
        sa.Column("role", sa.String, nullable=False),
        sa.Column("token_digest", sa.String, nullable=False),
        sa.Column("expires", sa.BigInteger, nullable=False),
        sa.Column("ended", sa.Boolean, nullable=False),
        sa.PrimaryKeyConstraint("number", name="pk_access_grants"),
        sa.UniqueConstraint("token_digest", name="uq_access_grants_token_digest"),
    )
    op.create_index("ix_access_grants_name", "access_grants", ["name"])


def _runs() -> None:
    op.create_table(
        "datasets",
        sa.Column("digest", sa.String, nullable=False),
        sa.Column("participant", sa.String, nullable=False),
        sa.Column("task", sa.String, nullable=False),
        sa.Column("sequence", sa.Integer, nullable=False),
        sa.Column("content", sa.String, nullable=False),
        sa.Column("document", sa.LargeBinary, nullable=False),
        sa.PrimaryKeyConstraint("digest", name="pk_datasets"),
    )
    op.create_index("ix_datasets_participant", "datasets", ["participant"])
    op.create_index("ix_datasets_content", "datasets", ["content"])
    op.create_table(
        "runs",
        sa.Column("name", sa.String, nullable=False),
        sa.Column("task", sa.String, nullable=False),
        sa.Column("plan", sa.LargeBinary, nullable=False),
        sa.Column("launched", sa.BigInteger, nullable=False),
        sa.Column("state", sa.String, nullable=False),
        sa.Column("detail", sa.String, nullable=False),
        sa.Column("finished_rounds", sa.Integer, nullable=False),
        sa.Column("flower_run", sa.String, nullable=False),
        sa.Column("driver", sa.String, nullable=False),
        sa.PrimaryKeyConstraint("name", name="pk_runs"),
    )
    op.create_table(
        "round_nonces",
        sa.Column("run", sa.String, nullable=False),
        sa.Column("number", sa.Integer, nullable=False),
        sa.Column("nonce", sa.String, nullable=False),
        sa.PrimaryKeyConstraint("run", "number", name="pk_round_nonces"),
    )
    op.create_table(
        "commitment_points",
        sa.Column("point", sa.String, nullable=False),
        sa.PrimaryKeyConstraint("point", name="pk_commitment_points"),
    )
