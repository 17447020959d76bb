"""Progress bars, where somebody asks for one."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


@contextlib.contextmanager
def progress_bar(
    label: str, total_bytes: int | None, *, shown: bool
) -> Iterator[Callable[[int], None] | None]:
    """Show a bar on the terminal or in the notebook while the context lasts.

    Yields
    ------
    callable or None
        To be told the bytes of each step, from any thread; None where no bar is shown.

    Raises
    ------
    ImportError
        ``rich`` is not installed.
    """
    if not shown:
        yield None
        return
    from rich.progress import (  # 40 ms, and only for those who ask for a bar
        BarColumn,
        DownloadColumn,
        Progress,
        TextColumn,
        TimeRemainingColumn,
        TransferSpeedColumn,
    )

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        DownloadColumn(),
        TransferSpeedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns) as progress:
        task = progress.add_task(label, total=total_bytes)
        yield lambda moved: progress.update(task, advance=moved)
