"""The command line of serving. A command is imported when it is called, so --help answers at once.

Exit codes: 0 done; 1 something failed; 2 the request cannot be carried out as given; 130 stopped by the user.
"""

from __future__ import annotations

import os

import click

from kerascnn.console import LazyGroup, run_command
from serving.errors import RequestError, ServingError

# command: (its place, its line in the listing)
COMMANDS = {
    "init": ("serving.commands.init:command", "Write TensorFlow Serving's configuration for what was exported."),
    "doctor": ("serving.commands.doctor:command", "Check models and configuration before they are deployed."),
    "promote": ("serving.commands.versions:promote", "Add a version to a served model, or give a version a label."),
    "rollback": ("serving.commands.versions:rollback", "Give a label back to the version that had it before."),
    "client": ("serving.commands.client:command", "Classify photos with a running server."),
    "loadtest": ("serving.commands.loadtest:command", "Measure throughput and latency of a running server."),
    "dev": ("serving.commands.dev:command", "Start a development server that needs no container engine."),
}


@click.command(cls=LazyGroup, lazy=COMMANDS)
def command() -> None:
    """Serve exported models with TensorFlow Serving.

    \b
    python -m serving init --models artifacts/ --gpu
    python -m serving doctor --models artifacts/
    python -m serving dev --models artifacts/
    """


def main() -> None:
    """Run the command line; every error is one paragraph on standard error and an exit code."""
    # Without oneDNN, its choice on older processors, TensorFlow cannot run grouped convolutions (ResNeXt).
    os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")
    run_command(command, refusals=(RequestError,), failures=(ServingError,), extra="serving")
