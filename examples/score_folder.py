"""Score a folder of photos that is too large for one machine, or only large.

    python examples/score_folder.py --model squeezenet --weights imagenet --photos photos/ --output results/

Photos and results may lie on this machine or on S3 or Google Cloud (s3://bucket/photos, gs://bucket/results). Without
further ado Ray starts on this machine alone; RAY_ADDRESS=auto (or a cluster's address) takes a cluster's machines, each
with kerascnn installed. The same command again goes on where the last one ended.

The results are parquet files of one row a photo: path, class, label, probability, the five best classes, and `error`
for files that are not readable images. Needs `kerascnn[scoring]`.
"""

from __future__ import annotations

import sys
from typing import NoReturn

import click

from kerascnn.scoring import Network, score


@click.command()
@click.option("--model", required=True, metavar="NAME", help="The network: see `python -m kerascnn list`.")
@click.option("--weights", required=True, metavar="NAME|FILE.kdc", help="Published weights, or a trained file.")
@click.option("--photos", required=True, metavar="FOLDER|PATTERN", help="A folder, s3://..., or 'photos/*.jpg'.")
@click.option("--output", required=True, metavar="FOLDER", help="Where the parquet files go.")
@click.option("--workers", type=click.IntRange(1), default=2, show_default=True, help="Networks at the same time.")
@click.option("--batch", type=click.IntRange(1), default=32, show_default=True, help="Photos in a step.")
def main(model: str, weights: str, photos: str, output: str, workers: int, batch: int) -> None:
    """Score a folder of photos into parquet files."""
    try:
        found = score(Network(model, weights), photos, output, workers, batch)
    except (ValueError, FileNotFoundError) as error:
        _end(error, 2)
    except (ImportError, OSError, RuntimeError) as error:
        _end(error, 1)
    if found.before:
        print(f"{found.before:,} photos were scored before.")
    if found.photos:
        print(f"Scored {found.photos:,} photos in {found.seconds:.0f} s, {found.photos / found.seconds:.1f} a second.")
    if found.unreadable:
        path, reason = found.examples[0]
        print(f"{found.unreadable:,} files are not readable images, {path} first ({reason}); their rows have `error`.")
    print(f"Results: {output}")


def _end(error: Exception, code: int) -> NoReturn:
    print(f"Error: {error}", file=sys.stderr)
    sys.exit(code)


if __name__ == "__main__":
    main()
