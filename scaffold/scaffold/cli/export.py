"""`scaffold audit export`: exports a run to a tracing backend; can be repeated."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import click

from scaffold.cli.ending import UNAVAILABLE
from scaffold.cli.options import journal_at, run_argument, runs_option
from scaffold.cli.speech import plain

if TYPE_CHECKING:
    from collections.abc import Iterator

    from scaffold.projections.conventions import Content
    from scaffold.projections.overlays import Backend
    from scaffold.trace.heads import Head
    from scaffold.vocabulary.events import Event


@click.command()
@run_argument
@click.option(
    "--endpoint",
    metavar="URL",
    help="OTLP over HTTP, such as http://localhost:4318 [$OTEL_EXPORTER_OTLP_ENDPOINT].",
)
@click.option(
    "--for",
    "backend",
    type=click.Choice(["generic", "phoenix", "mlflow", "langfuse"]),
    envvar="SCAFFOLD_TRACING_FOR",
    default="generic",
    help="Add what this backend needs beyond the conventions, and send verdicts by its own API.",
)
@runs_option
def export(run: str, endpoint: str | None, backend: Backend, runs: Path | None) -> int:
    """Send a run to a tracing backend as OpenTelemetry spans; repeating it sends the same spans.

    Prompts, answers, arguments and results are sent only with
    OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT=true, and if the task does not forbid it. Exit status 5 if not
    everything arrived.
    """
    journal = journal_at(runs)
    found = journal.find(run)
    if endpoint:
        if not endpoint.startswith(("http://", "https://")):
            raise click.BadParameter(f"{endpoint!r} is not an http:// or https:// address", param_hint="--endpoint")
        os.environ["OTEL_EXPORTER_OTLP_ENDPOINT"] = endpoint
        os.environ.pop("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", None)
    from scaffold.projections.otlp import export as send

    folder = journal.folder(found)
    sent = send(_events(folder), heads=_heads(folder), backend=backend)
    said = f"sent {sent.spans} spans of run {found}"
    if sent.badges:
        said += f" and {sent.badges} verdicts"
    click.echo(said)
    refused = [f"{count} {what}" for count, what in ((sent.failed, "spans"), (sent.badges_failed, "verdicts")) if count]
    if refused:
        click.echo(f"{' and '.join(refused)} were refused: {plain(sent.reason)}; export again", err=True)
    return UNAVAILABLE if refused else 0


def _events(folder: Path) -> Iterator[tuple[Event, Content]]:
    from scaffold.trace.chain import as_written, body_of
    from scaffold.trace.reading import links

    for link in links(folder):
        with as_written(link.event):
            content = body_of(link.content)
        yield link.event, content


def _heads(folder: Path) -> Iterator[tuple[Head, str]]:
    from scaffold.trace.files import HEADS
    from scaffold.trace.heads import notes_in

    path = folder / HEADS
    if not path.is_file():
        return
    with path.open(encoding="utf-8", errors="replace") as notes:
        try:
            yield from notes_in(notes, strict=False)
        except ValueError:
            return  # damaged from here on, which `scaffold audit verify` reports
