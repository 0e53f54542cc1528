"""What a check found: where, what is wrong, and what mends it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

Severity = Literal["error", "warning"]


@dataclass(frozen=True)
class Finding:
    """One thing that a check found.

    severity: "error" where serving would fail or answer wrongly, "warning" where it would be slow or a surprise.
    where: the file or folder, with the field or line inside it where there is one.
    what: what is wrong, with the value that was found and what is allowed.
    mend: what to do about it.
    """

    severity: Severity
    where: str
    what: str
    mend: str

    def __str__(self) -> str:
        return f"{self.severity}: {self.where}: {self.what} {self.mend}"


def errors(findings: Iterable[Finding]) -> list[Finding]:
    """The findings that keep a model from being served, in their order."""
    return [finding for finding in findings if finding.severity == "error"]
