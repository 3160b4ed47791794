"""Where Alembic finds the database: on the connection that it is given, in the transaction that is open on it."""

from alembic import context

context.configure(connection=context.config.attributes["connection"])
context.run_migrations()
