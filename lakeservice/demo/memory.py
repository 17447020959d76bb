"""Resident memory, as the system counts it. Imports nothing, so that any program can use it."""

from __future__ import annotations


def peak_resident(pid: int | str = "self") -> int:
    """Return the largest resident memory that a process ever had, in bytes.

    ``VmHWM`` of Linux; 0 where there is no such file.
    """
    return _field(f"/proc/{pid}/status", "VmHWM:")


def available() -> int:
    """Return the memory that a process could take now, in bytes; 0 where it is not told."""
    return _field("/proc/meminfo", "MemAvailable:")


def _field(file: str, name: str) -> int:
    try:
        with open(file, encoding="utf-8") as lines:
            for line in lines:
                if line.startswith(name):
                    return int(line.split()[1]) * 1024
    except OSError:
        pass
    return 0


def touch(size_bytes: int) -> None:
    """Use so much memory once and give it back.

    On a fresh virtual machine the first touch of a page takes many times longer
    than every later one, and would be measured as somebody's work.
    """
    step = 1 << 26
    held = []
    for start in range(0, size_bytes, step):
        block = bytearray(min(step, size_bytes - start))
        block[::4096] = b"\1" * len(block[::4096])
        held.append(block)
