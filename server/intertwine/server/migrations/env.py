"""How Alembic runs the migrations: on the connection that it is handed, within that one's transaction."""

from alembic import context

context.configure(connection=context.config.attributes["connection"])
context.run_migrations()
