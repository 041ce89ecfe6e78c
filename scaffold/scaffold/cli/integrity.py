"""`scaffold audit verify`, `key`, `sign`: whether a run is unchanged, and the keys that show it."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from scaffold.cli.options import journal_at, json_option, place, run_argument, runs_option
from scaffold.cli.speech import json_text, plain

if TYPE_CHECKING:
    from scaffold.trace.verify import Verification


Command = TypeVar("Command", bound=Callable[..., Any])


def _kept(said: str) -> Path | str:
    """Parse where heads were kept, also in the form that --heads-to takes."""
    return place(said.removeprefix("journal:").removeprefix("file:"))


def evidence_options(command: Command) -> Command:
    """Add `--against HEADS` and `--key LINE`, which a run is compared with."""
    against = click.option(
        "--against",
        metavar="HEADS",
        multiple=True,
        type=_kept,
        help="Signed heads kept elsewhere: a file, journal:PLACE (a folder or a database), - for stdin.",
    )
    key = click.option(
        "--key",
        metavar="LINE",
        multiple=True,
        help="Verifier line of a key that must have signed, or a file of such lines.",
    )
    return against(key(command))


@click.command()
@run_argument
@json_option
@evidence_options
@runs_option
def verify(run: str, as_json: bool, against: tuple[Path | str, ...], key: tuple[str, ...], runs: Path | None) -> int:
    """Verify a run: chain, content, signed heads, and that no action passed the gate uncleared.

    Exit status 0 only for a run that is verified and has ended or is paused. An unsigned chain shows damage. A signed
    one shows forgery, if the key or a head was kept out of the agent's reach. This needs only the public key and the
    run's spine, trace.jsonl.
    """
    from scaffold.trace.verify import describe

    journal = journal_at(runs)
    result = verified(journal.folder(journal.find(run)), against, key)
    if as_json:
        click.echo(json_text(describe(result)))
    else:
        click.echo(click.style(plain(result.sentence()), fg="green" if result.ok else "red"))
        for finding in result.findings:
            if finding.state != result.state:
                click.echo(plain(f"also {finding.state}: {finding.said}"))
        for repaired in result.repaired:
            click.echo(plain(f"a resume repaired it: {repaired}"))
    return 0 if result.ok else 1


def verified(folder: Path, against: tuple[Path | str, ...], key: tuple[str, ...]) -> Verification:
    """Verify a run's folder against the heads and keys from the options."""
    from scaffold.trace.folders import is_written
    from scaffold.trace.verify import verify_run

    heads = [_heads_in(each, folder.name) for each in against]
    running = is_written(folder)
    found = verify_run(folder, key=_verifiers(key), against=heads, running=running)
    if not found.ok and not running and is_written(folder):  # it was resumed during the verification
        found = verify_run(folder, key=_verifiers(key), against=heads, running=True)
    return found


def _verifiers(said: tuple[str, ...]) -> list[str]:
    """Return the verifier lines given, directly or in files."""
    from scaffold.trace.heads import refuse_key

    found: list[str] = []
    for each in said:
        if not Path(each).is_file():
            refuse_key(each)
        found += [each.strip()] if "+" in each and not Path(each).is_file() else _verifiers_in(Path(each))
    return found


def _verifiers_in(path: Path) -> list[str]:
    """Return the verifier lines of a file, without its comments.

    Raises:
        BadInput: it has none, or another line, which is not quoted: it may be a private key.
    """
    from scaffold.errors import BadInput
    from scaffold.trace.heads import is_verifier

    lines = [line.strip() for line in _read(path, "--key").splitlines()]
    found = [line for line in lines if line and not line.startswith("#")]
    if not found or not all(is_verifier(line) for line in found):
        said = "wanted are verifier lines, NAME+ID+BASE64, as `scaffold audit key FILE` prints them"
        raise BadInput(f"the file of --key, {path}, holds something else or nothing: {said}")
    return found


def _heads_in(where: Path | str, run: str) -> str:
    if str(where) == "-":
        return sys.stdin.read()
    if isinstance(where, str):  # the address of a database
        from scaffold.trace.postgres.archive import Archive

        return Archive(where).heads(run)
    from scaffold.trace.files import HEADS

    return _read(where / run / HEADS if where.is_dir() else where, "--against")


def _read(path: Path, option: str) -> str:
    from scaffold.errors import BadInput

    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise BadInput(f"cannot read {path}, given by {option}: {getattr(error, 'strerror', None) or error}") from None


@click.command()
@click.argument("file", metavar="FILE", type=click.Path(path_type=Path))
@click.option("--replaces", metavar="KEY", help="The previous key, which endorses this one: a file or env:VARIABLE.")
def key(file: Path, replaces: str | None) -> None:
    """Make a signing key in FILE, and print the verifier line to check signatures with.

    Keep the key, or a copy of signed heads, where the agent cannot reach it. `scaffold solve --key FILE` signs.
    The trace says which key signs. Whoever trusts a key also trusts the one that --replaces it; keep FILE.endorsement,
    which this needs, beside FILE.
    """
    from scaffold.errors import BadInput
    from scaffold.trace.heads import new_key
    from scaffold.trace.signing import endorse, signer_of

    if replaces and replaces.startswith("command:"):
        raise BadInput(
            "a signing program cannot endorse keys: run this where the old key is kept, and give the key's file"
        )
    before = signer_of(replaces) if replaces else None
    signer = new_key(file)
    if before is not None:
        endorse(before, signer, file)
    click.echo(signer.verifier())


@click.command()
@click.argument("file", metavar="KEY")
def sign(file: str) -> None:
    """Sign the text on stdin with KEY, as a signed note; if there is none, print verifier line and endorsement.

    `--key command:PROGRAM` needs such a program, so that the key can stay on another machine.
    """
    from scaffold.errors import BadInput
    from scaffold.trace.answers import ORIGIN as APPROVAL
    from scaffold.trace.heads import ORIGIN as HEAD
    from scaffold.trace.signing import Text, signer_of

    signer = signer_of(file)
    text = sys.stdin.read()
    if not text:
        click.echo(signer.verifier())
        click.echo(signer.endorsement, nl=False)
    elif text.startswith((HEAD, APPROVAL)) and text.endswith("\n") and "\n\n" not in text:
        click.echo(signer.sign(Text(text)), nl=False)
    else:
        raise BadInput("stdin has neither a head nor an answer; only these can be signed")
