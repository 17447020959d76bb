"""Runs a module and lets a profiler of the same user look at the process.

``python -m benchmarks.watched MODULE ARGUMENTS`` is ``python -m MODULE ARGUMENTS``, apart from
that. Linux by default lets only ancestors of a process do so (Yama, ``ptrace_scope`` 1).
"""

from __future__ import annotations

import ctypes
import runpy
import sys

_PR_SET_PTRACER = 0x59616D61
_ANY = ctypes.c_ulong(-1)


def main() -> None:
    """Allow it, then run the module."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PTRACER, _ANY, 0, 0, 0)
    del sys.argv[0]
    runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
