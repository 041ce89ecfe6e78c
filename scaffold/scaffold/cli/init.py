"""`scaffold init`."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import click

_NAME = "task.yaml"

_TEMPLATE = """\
# A task for scaffold. Run it:        scaffold solve {file}
# See every key:                      scaffold schema
# See what is installed:              scaffold plugins

prompt: Is this review of a film positive or negative?

# Facts given with the prompt. A file is read by its extension: {{file: reviews.csv}}. A name in `untrusted`, or
# `untrusted: true` beside `file`, marks text from outside: it is data, never instructions.
inputs:
  review: I laughed, I cried, and I have told all my friends to see it.
untrusted: [review]

# What the answer must be: text, integer, number, boolean, or one of a list.
answer: [positive, negative]

# How to think: the name of a planner, or MODULE:FUNCTION in a file beside this one.
planner: direct

# Who answers.
backends:
{backend}
# How samples become one answer: once, {{majority: 3}}, or {{ahead_by: 2}}.
sampling: {{majority: 3}}

# The most it may use; the run pauses when it has.
budget:
  tokens: 20000
"""

_LOCAL = """\
  default: smollm2 # a small model that runs here; 98 MB are downloaded on first use
# default: openai:gpt-5-mini # with OPENAI_API_KEY set
# default: http://localhost:8000/v1#MODEL # any server that speaks OpenAI's protocol
"""

_SCRIPTED = """\
  default: {use: scripted, replies: positive} # no model: it replies with this text
# default: smollm2 # a small model that runs here, after: pip install 'system2-scaffold[local]'
# default: openai:gpt-5-mini # with OPENAI_API_KEY set
# default: http://localhost:8000/v1#MODEL # any server that speaks OpenAI's protocol
"""


@click.command()
@click.argument("folder", metavar="[FOLDER]", default=".", type=click.Path(path_type=Path))
def init(folder: Path) -> None:
    """Write a small task file to start from, into FOLDER or here; nothing is overwritten."""
    from scaffold.errors import BadInput

    file = folder / _NAME
    backend = _LOCAL if find_spec("xllamacpp") is not None else _SCRIPTED
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with file.open("x", encoding="utf-8") as written:
            written.write(_TEMPLATE.format(file=file, backend=backend))
    except FileExistsError:
        raise BadInput(f"{file} already exists: nothing was written") from None
    except OSError as error:
        raise BadInput(f"cannot write {file}: {error.strerror}") from None
    click.echo(f"wrote {file}; solve it with: scaffold solve {file}")
