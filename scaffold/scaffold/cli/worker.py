"""`scaffold worker`."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from scaffold.cli.foreground import ending_signals
from scaffold.cli.options import key_option, runs_option

if TYPE_CHECKING:
    from scaffold.cli.options import Signing
    from scaffold.interfaces import KeptRuns
    from scaffold.workers.carrying import Carrier
    from scaffold.workers.engines import Engine

_ENGINES = "postgresql://USER@HOST/DATABASE or temporal://HOST:PORT/NAMESPACE"

engine_option = click.option("--engine", metavar="URL", help=f"What hands runs to workers: {_ENGINES}.")


@click.command()
@click.option(
    "--engine", metavar="URL", required=True, envvar="SCAFFOLD_ENGINE", help=f"{_ENGINES} [$SCAFFOLD_ENGINE]."
)
@runs_option
@key_option
@click.option(
    "-j", "--at-once", type=click.IntRange(1, 10_000), default=8, show_default=True, help="Most runs at once."
)
@click.option(
    "--heartbeat",
    type=click.FloatRange(1, 3600),
    default=15.0,
    show_default=True,
    help="Seconds without a sign after which a worker counts as dead, and its runs go to others.",
)
@click.option("--drain", is_flag=True, help="Exit once nothing is left to hand out (procrastinate only).")
def worker(
    engine: str, runs: Path | str | None, key: Signing | None, at_once: int, heartbeat: float, drain: bool
) -> int:
    """Carry on runs that an engine hands out, until interrupted.

    `scaffold batch --engine` begins the runs, from task files whose folder must be on this machine at the same path.
    They are kept in PostgreSQL: in --runs, else in the engine's own database.

    On SIGTERM, SIGHUP or Ctrl-C, runs under way are paused and handed to other workers.
    """
    from scaffold.errors import BadInput
    from scaffold.trace.places import is_database, place_of
    from scaffold.workers.engines import engine_of

    place = runs if runs is not None else _usual(engine)
    if not is_database(place):
        raise BadInput(f"workers keep runs in a database, not in {place}: give --runs postgresql://...")
    hands_out = engine_of(engine)
    from scaffold.trace.postgres import PostgresJournal
    from scaffold.workers.carrying import Carrier

    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(levelname)s %(message)s")
    journal = PostgresJournal(str(place_of(str(place))), lease=heartbeat, connections=6)
    carrier = Carrier(journal, held=heartbeat / 3, **({} if key is None else key.outside()))
    _say(f"working for {engine.partition('?')[0] if '@' not in engine else journal.name}, {at_once} at once")
    return asyncio.run(_work(hands_out, journal, carrier, at_once=at_once, heartbeat=heartbeat, drain=drain))


def _usual(engine: str) -> Path | str:
    import os

    from scaffold.trace.places import is_database, runs_folder

    return engine if is_database(engine) and not os.environ.get("SCAFFOLD_RUNS") else runs_folder()


async def _work(
    engine: Engine, journal: KeptRuns, carrier: Carrier, *, at_once: int, heartbeat: float, drain: bool
) -> int:
    from scaffold.trace.postgres import PostgresJournal

    loop, leaving = asyncio.get_running_loop(), asyncio.Event()
    for number in ending_signals():
        loop.add_signal_handler(number, leaving.set)
    async with contextlib.AsyncExitStack() as open_:
        if isinstance(journal, PostgresJournal):
            await open_.enter_async_context(journal)
        await open_.enter_async_context(engine)
        open_.push_async_callback(carrier.close)
        working = asyncio.ensure_future(engine.work(carrier.carry, at_once=at_once, heartbeat=heartbeat, drain=drain))
        asked = asyncio.ensure_future(leaving.wait())
        await asyncio.wait({working, asked}, return_when=asyncio.FIRST_COMPLETED)
        asked.cancel()
        if not working.done():
            carrier.leave()
            with contextlib.suppress(OSError):  # the terminal may be gone
                _say("pausing what is under way; other workers continue it")
            await carrier.left()
            working.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await working
    return 0


def _say(text: str) -> None:
    sys.stderr.write(text + "\n")
    sys.stderr.flush()
