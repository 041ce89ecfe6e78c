"""`scaffold schema`: what task files and suites may hold, as JSON Schema."""

from __future__ import annotations

import json

import click


@click.command()
@click.option("--suite", is_flag=True, help="The schema of suites for `scaffold eval` instead.")
def schema(suite: bool) -> None:
    """Print the JSON Schema of task files, so that editors can complete and check them.

    With yaml-language-server: save it as task.schema.json, and begin the task file with
    `# yaml-language-server: $schema=task.schema.json`.
    """
    from scaffold.cli.suite_schema import suite_schema
    from scaffold.cli.task_schema import task_schema

    click.echo(json.dumps(suite_schema() if suite else task_schema(), indent=2))
