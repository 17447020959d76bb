"""One address for a facility's data: detector files in, arrays and tables out."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lakeservice.client import connect

__version__ = "0.1.0"
__all__ = ["__version__", "connect"]


def __getattr__(name: str) -> Any:
    if name == "connect":
        from lakeservice.client import connect  # lazy: servers and tools do without the client

        return connect
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
