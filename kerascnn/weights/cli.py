"""`python -m kerascnn weights`: whether the published weights are still where the records say."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from http.client import HTTPException

import click

from kerascnn.console import SETTINGS
from kerascnn.registry import WeightsRecord

AT_ONCE = 8


@click.group(context_settings=SETTINGS)
def weights() -> None:
    """The published weights on record."""


@weights.command()
@click.argument("pattern", default="*")
def check(pattern: str) -> int:
    """Ask every address of the weights of the variants that PATTERN matches whether its file is still there.

    Nothing is fetched but the servers' answers. A size or a digest other than the record's counts as gone; the exit
    code is then 1. The Hugging Face hub also tells the digest and the commit that a record may lack.
    """
    from kerascnn.weights.sources import list_weights

    pairs = [(record, url) for record in list_weights(pattern) if not record.packaged for url in record.addresses]
    with ThreadPoolExecutor(AT_ONCE) as pool:
        answers = list(pool.map(lambda pair: _ask(*pair), pairs))
    for (record, url), (alive, what) in zip(pairs, answers, strict=True):
        click.echo(f"{'alive' if alive else 'GONE '}  {record.full_name}  {url}  {what}".rstrip())
    there = sum(alive for alive, _ in answers)
    digests = sum(bool(record.sha256 or record.sha1 or record.md5) for record, _ in pairs)
    click.echo(f"{there} of {len(pairs)} addresses are alive; {digests} have a published digest.")
    return 0 if there == len(pairs) else 1


def _ask(record: WeightsRecord, url: str) -> tuple[bool, str]:
    from kerascnn.weights.downloading import head
    from kerascnn.weights.sources import TIMEOUT

    try:
        answer = head(url, TIMEOUT)
    except (OSError, HTTPException, ValueError) as error:
        return False, str(error)
    if None not in (record.bytes, answer.bytes) and record.bytes != answer.bytes:
        return False, f"has {answer.bytes:,} bytes instead of {record.bytes:,}"
    if answer.sha256 and not answer.sha256.startswith(record.sha256):
        return False, f"has the SHA-256 {answer.sha256} instead of {record.sha256}"
    more = [f"{answer.bytes:,} bytes"] if answer.bytes is not None else []
    more += [f"SHA-256 {answer.sha256}"] if answer.sha256 and len(record.sha256) < 64 else []
    more += [f"commit {answer.revision}"] if answer.revision and answer.revision not in url else []
    return True, ", ".join(more)
