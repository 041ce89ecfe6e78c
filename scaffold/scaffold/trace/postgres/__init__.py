"""The Postgres journal: the same events and content as in files, in two tables, for runs on many machines."""

from scaffold.trace.postgres.journal import PostgresJournal

__all__ = ["PostgresJournal"]
