"""The tables of the Postgres journal: versioned, created and changed by numbered SQL files.

    migrations/0001.sql    creates version 1; each later change is a file of its own, never an edit

During an upgrade, two versions of this program use one database. So the first line of a migration also says from which
version on a program understands its result (`-- compatible: 1`); without that line, only its own version does.
"""

from __future__ import annotations

import re
from importlib import resources
from typing import TYPE_CHECKING, NamedTuple

from scaffold.errors import BadInput

if TYPE_CHECKING:
    from psycopg import AsyncConnection

SCHEMA = "scaffold"
_LOCK = 0x5CAFF01D  # a PostgreSQL advisory lock: one process migrates at a time
_COMPATIBLE = re.compile(r"-- compatible: (\d+)\n")
_VERSIONS = """
CREATE SCHEMA IF NOT EXISTS scaffold;
CREATE TABLE IF NOT EXISTS scaffold.versions (
    version integer PRIMARY KEY, compatible integer NOT NULL, at timestamptz NOT NULL DEFAULT clock_timestamp());
"""


class Migration(NamedTuple):
    """One step from a version of the tables to the next.

    Attributes:
        version: version of the tables afterwards.
        compatible: the oldest table version whose program understands them.
        sql: the statements.
    """

    version: int
    compatible: int
    sql: str


def migrations() -> list[Migration]:
    """Return all steps, in order."""
    found = []
    for file in sorted(resources.files(__package__).joinpath("migrations").iterdir(), key=lambda each: each.name):
        if file.name.endswith(".sql"):
            sql, version = file.read_text(encoding="utf-8"), int(file.name.removesuffix(".sql"))
            said = _COMPATIBLE.match(sql)
            found.append(Migration(version, int(said[1]) if said else version, sql))
    return found


async def check(connection: AsyncConnection[tuple[object, ...]], where: str, *, migrate: bool = True) -> None:
    """Check that the tables exist and are usable; create or update them if allowed.

    Args:
        connection: with autocommit.
        where: names the database in messages.
        migrate: create or change tables.

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
    """Return the message for a refusal by the database, with the cure if one is known."""
    import psycopg

    primary = error.diag.message_primary if isinstance(error, psycopg.Error) else None
    said = f"PostgreSQL at {where} refused, or the connection was lost: {primary or ' '.join(str(error).split())}"
    if isinstance(error, psycopg.errors.InsufficientPrivilege):
        return f"{said}: docs/deployment.md has the rights that a role needs, for its owner to grant"
    if isinstance(error, psycopg.errors.DuplicateTable | psycopg.errors.DuplicateSchema):
        return f"{said}: its schema `scaffold` was made by another program; use another database"
    return said


async def _check(connection: AsyncConnection[tuple[object, ...]], where: str, *, migrate: bool) -> None:
    encoding = await _one(connection, "SHOW server_encoding")
    if encoding != "UTF8":
        raise BadInput(f"the database {where} has the encoding {encoding}: create one with ENCODING 'UTF8'")
    known = migrations()
    newest = known[-1].version
    version, compatible = await _version(connection)
    if compatible > newest:
        raise BadInput(
            f"the tables in {where} have version {version}, but this scaffold knows versions up to {newest}: upgrade "
            "scaffold"
        )
    if version < newest:
        if not migrate:
            raise BadInput(
                f"the tables in {where} have version {version}, but version {newest} is needed: run `scaffold "
                "database migrate` as their owner"
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

    # Taken before the transaction: a transaction that waited for it would not see what was created meanwhile.
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
            f"the tables in {where} are missing or out of date, and this role may not change them: run `scaffold "
            f"database migrate` as their owner ({error.diag.message_primary})"
        ) from None
    finally:
        await connection.execute("SELECT pg_advisory_unlock(%s)", (_LOCK,))


async def _one(connection: AsyncConnection[tuple[object, ...]], statement: str) -> object:
    cursor = await connection.execute(statement.encode(), prepare=False)
    row = await cursor.fetchone()
    return None if row is None else row[0]
