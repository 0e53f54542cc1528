"""Options that several commands share."""

from __future__ import annotations

from pathlib import Path

import click

PATH = click.Path(path_type=Path)
SECONDS = click.FloatRange(min=0, min_open=True)
URL = "http://127.0.0.1:8501"


def header(text: str) -> tuple[str, str]:
    """Parse a header, `NAME: VALUE`, into its name and its value."""
    name, colon, value = text.partition(":")
    if not colon or not name.strip():
        raise click.UsageError(f"--header is 'NAME: VALUE', such as 'X-API-Key: …'; it is {text!r}.")
    return name.strip(), value.strip()


models = click.option(
    "--models",
    "models_folder",
    type=PATH,
    default=Path("artifacts"),
    show_default=True,
    metavar="DIR",
    help="The folder that export wrote to.",
)
config = click.option("--config", type=PATH, metavar="DIR", help="The configuration that init wrote.")
as_json = click.option("--json", "as_json", is_flag=True, help="Print JSON instead of a table.")
model_name = click.option("--model", required=True, metavar="NAME", help="The name that the model is served under.")
timeout = click.option("--timeout", type=SECONDS, default=30.0, show_default=True, help="Seconds.")
headers = click.option(
    "--header",
    "headers",
    type=header,
    multiple=True,
    metavar="'NAME: VALUE'",
    help="Repeatable, such as 'X-API-Key: …'.",
)
