"""The tables of the Postgres journal: versioned, made and changed by numbered files of SQL.

    migrations/0001.sql    what version 1 has; a change of it is a file of its own, never an edit

Two versions of this program work on one database while one replaces the other. So a migration also says, in its first
line, from which version on a program understands the result (`-- compatible: 1`); without that, only its own.
"""

from __future__ import annotations

import re
from importlib import resources
from typing import TYPE_CHECKING, NamedTuple

from scaffold.errors import BadInput

if TYPE_CHECKING:
    from psycopg import AsyncConnection

SCHEMA = "scaffold"
_LOCK = 0x5CAFF01D  # of PostgreSQL's advisory locks: one migrates at a time
_COMPATIBLE = re.compile(r"-- compatible: (\d+)\n")
_VERSIONS = """
CREATE SCHEMA IF NOT EXISTS scaffold;
CREATE TABLE IF NOT EXISTS scaffold.versions (
    version integer PRIMARY KEY, compatible integer NOT NULL, at timestamptz NOT NULL DEFAULT clock_timestamp());
"""


class Migration(NamedTuple):
    """One step from a version of the tables to the next.

    Attributes:
        version: what the tables are afterwards.
        compatible: the oldest version of this program's tables whose program understands them.
        sql: what to do.
    """

    version: int
    compatible: int
    sql: str


def migrations() -> list[Migration]:
    """All steps, in order."""
    found = []
    for file in sorted(resources.files(__package__).joinpath("migrations").iterdir(), key=lambda each: each.name):
        if file.name.endswith(".sql"):
            sql, version = file.read_text(encoding="utf-8"), int(file.name.removesuffix(".sql"))
            said = _COMPATIBLE.match(sql)
            found.append(Migration(version, int(said[1]) if said else version, sql))
    return found


async def check(connection: AsyncConnection[tuple[object, ...]], where: str, *, migrate: bool = True) -> None:
    """See that the tables are there and are ours to use; make them, or bring them up to date, if we may.

    Args:
        connection: with autocommit.
        where: names the database in messages.
        migrate: make or change tables.

    Raises:
        BadInput: the database cannot be used as it is; the message names the cure.
    """
    import psycopg

    try:
        await _check(connection, where, migrate=migrate)
    except psycopg.OperationalError:
        raise
    except psycopg.Error as error:
        raise BadInput(refusal(where, error)) from None


def refusal(where: str, error: Exception) -> str:
    """What is said when the database refuses something, with the cure where one is known."""
    import psycopg

    primary = error.diag.message_primary if isinstance(error, psycopg.Error) else None
    said = f"PostgreSQL at {where} refuses, or was lost: {primary or ' '.join(str(error).split())}"
    if isinstance(error, psycopg.errors.InsufficientPrivilege):
        return f"{said}: docs/deployment.md has the rights that a role needs, for its owner to grant"
    if isinstance(error, psycopg.errors.DuplicateTable | psycopg.errors.DuplicateSchema):
        return f"{said}: the schema `scaffold` there was made by something else, use another database"
    return said


async def _check(connection: AsyncConnection[tuple[object, ...]], where: str, *, migrate: bool) -> None:
    encoding = await _one(connection, "SHOW server_encoding")
    if encoding != "UTF8":
        raise BadInput(f"the database {where} is encoded in {encoding}: make one with ENCODING 'UTF8'")
    known = migrations()
    newest = known[-1].version
    version, compatible = await _version(connection)
    if compatible > newest:
        raise BadInput(
            f"the tables in {where} are of version {version}, which needs a newer scaffold (this one knows up to "
            f"{newest}): upgrade it"
        )
    if version < newest:
        if not migrate:
            raise BadInput(
                f"the tables in {where} are of version {version}, and {newest} is wanted: "
                "run `scaffold database migrate` as their owner"
            )
        await _migrate(connection, known, where)


async def _version(connection: AsyncConnection[tuple[object, ...]]) -> tuple[int, int]:
    if await _one(connection, "SELECT to_regclass('scaffold.versions')") is None:
        return 0, 0
    cursor = await connection.execute(
        "SELECT version, compatible FROM scaffold.versions ORDER BY version DESC LIMIT 1", prepare=False
    )
    row = await cursor.fetchone()
    return (0, 0) if row is None else (int(str(row[0])), int(str(row[1])))


async def _migrate(connection: AsyncConnection[tuple[object, ...]], known: list[Migration], where: str) -> None:
    from psycopg import errors

    # Taken before the transaction: one that waits for it within would not see what was made meanwhile.
    await connection.execute("SELECT pg_advisory_lock(%s)", (_LOCK,))
    try:
        async with connection.transaction():
            version, _ = await _version(connection)
            if not version:
                await connection.execute(_VERSIONS)
            for step in known:
                if step.version > version:
                    await connection.execute(step.sql.encode())
                    await connection.execute(
                        "INSERT INTO scaffold.versions (version, compatible) VALUES (%s, %s)",
                        (step.version, step.compatible),
                    )
    except errors.InsufficientPrivilege as error:
        raise BadInput(
            f"the tables in {where} are not there or not up to date, and this role may not change that: "
            f"run `scaffold database migrate` as their owner ({error.diag.message_primary})"
        ) from None
    finally:
        await connection.execute("SELECT pg_advisory_unlock(%s)", (_LOCK,))


async def _one(connection: AsyncConnection[tuple[object, ...]], statement: str) -> object:
    cursor = await connection.execute(statement.encode(), prepare=False)
    row = await cursor.fetchone()
    return None if row is None else row[0]
