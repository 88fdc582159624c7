"""What alembic runs for each command: the connection comes from `server.core.migrations`."""

from __future__ import annotations

from alembic import context

from server.core.schema import metadata

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    render_as_batch=True,
    transactional_ddl=True,
)
# The caller's transaction is the only one: all steps happen or none does.
context.run_migrations()
