"""The command line of the networks themselves. A command is imported when it is called, so that --help is instant."""

from __future__ import annotations

import click

from kerascnn.console import LazyGroup, run_command

# command: (where it is, what the listing says of it)
COMMANDS = {
    "list": ("kerascnn.analysis.cli:list_networks", "List the networks with their published errors and exact counts."),
    "summary": ("kerascnn.analysis.cli:summary", "Print what each layer of a network costs, and the totals."),
    "receptive-field": ("kerascnn.analysis.cli:receptive_field", "Print or draw what each layer sees of the image."),
    "compare": ("kerascnn.analysis.cli:compare_networks", "Compare published accuracy with work and parameters."),
    "predict": ("kerascnn.photos.cli:predict", "Name what photos show."),
    "evaluate": ("kerascnn.evaluating.cli:evaluate", "Measure accuracy on labeled photos, with its evidence."),
    "finetune": ("kerascnn.training.tuning.cli:finetune", "Teach a trained network classes of your own."),
    "weights": ("kerascnn.weights.cli:weights", "Ask whether published weights are still where they were."),
    "train": ("kerascnn.training.cli:train", "Train a network as its paper says."),
}


@click.command(cls=LazyGroup, lazy=COMMANDS)
def command() -> None:
    """What the classic convolutional networks see in photos, what they cost, and how they are trained.

    \b
    python -m kerascnn predict squeezenet cat.jpg
    python -m kerascnn evaluate artifacts/squeezenet --data photos/
    python -m kerascnn list 'resnet*'
    python -m kerascnn summary resnet50 --csv > resnet50.csv
    python -m kerascnn receptive-field vgg16 --png field.png
    python -m kerascnn compare 'resnet*' 'densenet*' --png networks.png
    """


def main() -> None:
    """Run the command; an error is one paragraph on standard error and an exit code, see `kerascnn.console`."""
    failures = (ImportError, OSError, RuntimeError, FloatingPointError)
    run_command(command, "kerascnn", refusals=(ValueError, TypeError), failures=failures)
