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
configured_models = click.option(
    "--models",
    "models_folder",
    type=PATH,
    metavar="DIR",
    help="The folder that export wrote to: by default the one that the .env of --config names, or artifacts.",
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


def find_models_folder(given: Path | None, config: Path | None) -> Path:
    """Return the folder of the models: the one given, else MODELS_FOLDER of a configuration's .env, else artifacts."""
    from serving.configuration.tfs.flags import read_variables

    if given is not None:
        return given
    environment = config / ".env" if config is not None else None
    if environment is not None and environment.is_file():
        folder = read_variables(environment.read_text(encoding="utf-8")).get("MODELS_FOLDER")
        if folder:
            return environment.parent / folder
    return Path("artifacts")
