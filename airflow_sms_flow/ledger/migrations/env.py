"""What Alembic runs. The connection comes from `ledger.database.upgrade`, which holds the lock."""

from alembic import context

from airflow_sms_flow.ledger.schema import VERSION_TABLE, metadata

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    version_table=VERSION_TABLE,
)
context.run_migrations()
