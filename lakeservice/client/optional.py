"""Packages that only some users have."""

from __future__ import annotations

import importlib
from typing import Any


def needed(module: str, package: str) -> Any:
    """Import a module, or say which package to install.

    Raises
    ------
    ImportError
        The package is not installed; the message has the command.
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        name = module.partition(".")[0]
        if error.name is not None and error.name.partition(".")[0] != name:
            raise
        raise ImportError(
            f"this needs {package!r}, which is not installed: pip install '{package}'", name=name
        ) from None
