"""Run the migrations on the connection that ``store.migrate`` hands over, as Alembic's entry."""

from alembic import context

from nemorouter.store.schema import VERSION_TABLE, metadata

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    version_table=VERSION_TABLE,
    transactional_ddl=True,
    render_as_batch=True,
)
context.run_migrations()
