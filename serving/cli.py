"""The command line of serving. A command is imported when it is called, so that --help answers at once.

Exit codes: 0 all done; 1 something failed; 2 what was asked for cannot be done as asked.
"""

from __future__ import annotations

import importlib
import importlib.util
import sys

import click

from serving.errors import RequestError, ServingError

# command: (where it is, what the listing says of it)
COMMANDS = {
    "init": ("serving.configuration.init:command", "Write TensorFlow Serving's configuration for what was exported."),
    "doctor": ("serving.operations.doctor:command", "Check models and configuration before they are deployed."),
    "promote": ("serving.operations.versions:promote", "Add a version to a served model, or give a version a label."),
    "rollback": ("serving.operations.versions:rollback", "Give a label back to the version that had it before."),
    "client": ("serving.client.cli:command", "Classify photos with a running server."),
    "loadtest": ("serving.operations.loadtest:command", "Measure throughput and latency of a running server."),
    "dev": ("serving.development.cli:command", "Start a development server that needs no container engine."),
}


class LazyGroup(click.Group):
    """The commands of COMMANDS, each imported when it is called or asked for its own help."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return [name for name, (target, _) in COMMANDS.items() if _is_there(target)]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in self.list_commands(ctx):
            return None
        module, _, attribute = COMMANDS[cmd_name][0].partition(":")
        try:
            return getattr(importlib.import_module(module), attribute)
        except ModuleNotFoundError as error:
            raise missing(error) from error

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        if rows := [(name, COMMANDS[name][1]) for name in self.list_commands(ctx)]:
            with formatter.section("Commands"):
                formatter.write_dl(rows)


def _is_there(target: str) -> bool:
    try:
        return importlib.util.find_spec(target.partition(":")[0]) is not None
    except ModuleNotFoundError:
        return False


@click.command(cls=LazyGroup, context_settings={"max_content_width": 110, "help_option_names": ["-h", "--help"]})
def command() -> None:
    """Serve exported models with TensorFlow Serving.

    \b
    python -m serving init --models artifacts/ --gpu
    python -m serving doctor --models artifacts/
    python -m serving dev --models artifacts/
    """


def main() -> None:
    """Run the command; every error is one paragraph on standard error and an exit code."""
    try:
        result = command.main(standalone_mode=False)
    except RequestError as error:
        _end(str(error), 2)
    except click.UsageError as error:
        _end(f"{error.format_message()} Try --help.", 2)
    except ServingError as error:
        _end(str(error), 1)
    except ModuleNotFoundError as error:
        _end(str(missing(error)), 2)
    except (click.Abort, KeyboardInterrupt):
        _end("Stopped.", 130)
    except BrokenPipeError:
        sys.stderr.close()
        sys.exit(1)
    except Exception as error:
        _end(f"An unexpected {type(error).__name__}: {str(error)[:500]}", 1)
    else:
        sys.exit(result if isinstance(result, int) else 0)


def missing(error: ModuleNotFoundError) -> RequestError:
    """A package that is not installed, as an error that says which extra brings it."""
    return RequestError(f"{error.name} is not installed. Serving needs the extra: pip install 'kerascnn[serving]'.")


def _end(message: str, code: int) -> None:
    print(f"Error: {message}", file=sys.stderr)
    sys.exit(code)
