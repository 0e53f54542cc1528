"""What a check reports: where a problem is, what is wrong, and how to fix it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

Severity = Literal["error", "warning"]


@dataclass(frozen=True)
class Finding:
    """One problem that a check found.

    Attributes:
        severity: "error" if serving would fail or answer wrongly, "warning" if it would be slow or surprising.
        where: The file or folder, with the field or line inside it where there is one.
        what: What is wrong: the value found, and what is allowed.
        mend: How to fix it.
    """

    severity: Severity
    where: str
    what: str
    mend: str

    def __str__(self) -> str:
        return f"{self.severity}: {self.where}: {self.what} {self.mend}"


def errors(findings: Iterable[Finding]) -> list[Finding]:
    """Select the findings that keep a model from being served, in their order."""
    return [finding for finding in findings if finding.severity == "error"]
