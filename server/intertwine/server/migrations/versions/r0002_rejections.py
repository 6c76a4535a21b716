"""Replies that failed a check and are not in the log."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    """Create their table."""
    op.create_table(
        "rejections",
        sa.Column("run", sa.String, nullable=False),
        sa.Column("round", sa.Integer, nullable=False),
        sa.Column("participant", sa.String, nullable=False),
        sa.Column("check", sa.String, nullable=False),
        sa.PrimaryKeyConstraint("run", "round", "participant", "check", name="pk_rejections"),
    )
