"""What a check says."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

__all__ = ["Check", "Failed", "Finding", "NotApplicable", "findings"]

#: Raises :class:`Failed` or :class:`NotApplicable`, or is content.
Check = Callable[..., None]


class Failed(AssertionError):
    """What was done, against what should be done."""


class NotApplicable(Exception):
    """Why the check says nothing here."""


@dataclass(frozen=True)
class Finding:
    """One check's outcome.

    Attributes:
        check: its name.
        passed: None where it does not apply.
        words: what was seen.
    """

    check: str
    passed: bool | None
    words: str


def findings(checks: Mapping[str, Check], leave_out: tuple[str, ...], run: Callable[[Check], None]) -> list[Finding]:
    """One finding per check; a check that ends in an unexpected error has failed."""
    found = []
    for name, check in checks.items():
        if name in leave_out:
            continue
        try:
            run(check)
        except NotApplicable as reason:
            found.append(Finding(name, None, str(reason)))
        except Failed as failure:
            found.append(Finding(name, False, str(failure)))
        except Exception as error:  # someone else's code may raise anything: that is a finding too
            found.append(Finding(name, False, f"{type(error).__name__}: {error}"))
        else:
            found.append(Finding(name, True, ""))
    return found
