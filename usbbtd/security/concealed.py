"""Shows records without the secrets in them, in tracebacks, logs and tests as well."""

from collections.abc import Collection
from typing import Protocol


class Record(Protocol):
    """A named tuple."""

    @property
    def _fields(self) -> tuple[str, ...]: ...


def conceal(record: Record, secrets: Collection[str]) -> str:
    """Returns the repr of a named tuple, in which the fields in ``secrets`` that are not None read "…"."""
    fields = (
        f"{name}=…" if name in secrets and getattr(record, name) is not None else f"{name}={getattr(record, name)!r}"
        for name in record._fields
    )
    return f"{type(record).__name__}({', '.join(fields)})"
