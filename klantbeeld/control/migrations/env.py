"""Alembic's entry: runs the migrations on the connection that `store.py` hands over."""

from alembic import context

from klantbeeld.control.tables import metadata

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    transactional_ddl=False,
)
context.run_migrations()
