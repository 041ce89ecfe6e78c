"""The Postgres journal: the same events and content as the files hold, in two tables, for runs of many machines."""

from scaffold.trace.postgres.journal import PostgresJournal

__all__ = ["PostgresJournal"]
