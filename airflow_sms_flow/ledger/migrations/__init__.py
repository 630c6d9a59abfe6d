"""Alembic revisions of the ledger's schema. A change adds one; none that was released is ever edited."""
