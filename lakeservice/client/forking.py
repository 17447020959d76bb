"""Forks: gRPC does not survive them, so nothing of it may be open when one happens."""

from __future__ import annotations

import contextlib
import os
import time
import weakref
from pathlib import Path
from typing import Protocol

WAIT_S = 2.0
"""How long a fork waits for gRPC to end its threads, which it does in the background."""
_TASKS = Path("/proc/self/task")
_LOOKS = 3
_GRPC_THREADS = frozenset({"event_engine", "grpc_global_tim", "grpc_shutdown", "lifeguard"})


class Forkable(Protocol):
    """Something with open channels."""

    def close_for_fork(self) -> bool:
        """Close what is open and let nobody open it again; tell whether all is closed."""

    def resume(self) -> None:
        """Go on, in the process that has forked."""

    def restart(self, *, stranded: bool) -> None:
        """Begin anew in the child, where gRPC cannot be used if ``stranded``."""


_members: weakref.WeakSet[Forkable] = weakref.WeakSet()
_forking: list[Forkable] = []
_grpc_in_use = False
_stranded = False


def closes_for_forks(member: Forkable) -> None:
    """Have something closed before each fork of this process."""
    _members.add(member)


def is_stranded() -> bool:
    """Tell whether this process was forked while gRPC was in use, which it cannot be here then."""
    return _stranded


def _before() -> None:
    global _grpc_in_use
    _forking[:] = _members
    closed = [member.close_for_fork() for member in _forking]
    _grpc_in_use = not (all(closed) and _grpc_has_ended(WAIT_S if _forking else 0.0))


def _in_parent() -> None:
    while _forking:
        _forking.pop().resume()


def _in_child() -> None:
    global _stranded
    _stranded = _grpc_in_use
    while _forking:
        _forking.pop().restart(stranded=_stranded)


def _grpc_has_ended(wait_s: float) -> bool:
    """Wait until no thread of gRPC is left; where threads cannot be seen, hope so."""
    deadline = time.monotonic() + wait_s
    clear = 0
    # Threads are looked at one after the other: one may get its name, and end others, meanwhile.
    while clear < _LOOKS:
        if _GRPC_THREADS & _thread_names():
            clear = 0
            if time.monotonic() > deadline:
                return False
            time.sleep(0.001)
        else:
            clear += 1
    return True


def _thread_names() -> set[str]:
    names = set()
    if _TASKS.is_dir():
        for task in _TASKS.iterdir():
            with contextlib.suppress(OSError):  # it ended meanwhile
                names.add((task / "comm").read_text().strip())
    return names


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_before, after_in_parent=_in_parent, after_in_child=_in_child)
