"""Memory for values that stay."""

from __future__ import annotations

import platform
import subprocess
import sys

import numpy as np
import pytest

from lakeservice.codecs.memory import empty_apart


@pytest.mark.parametrize("dtype", ["<u2", ">f8", "?", "M8[ns]", "S3", [("a", "<i4"), ("b", "<f8")]])
def test_an_array_apart_holds_what_is_written_to_it(dtype: object) -> None:
    values = np.zeros((3, 4), np.dtype(dtype))  # type: ignore[call-overload]
    values.view(np.uint8).reshape(-1)[:] = np.arange(values.nbytes) % 2
    apart = empty_apart(values.shape, values.dtype)
    apart[...] = values
    assert apart.dtype == values.dtype
    assert apart.tobytes() == values.tobytes()


def test_an_array_apart_may_be_empty() -> None:
    assert empty_apart((0, 4), np.dtype("u2")).shape == (0, 4)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc has this setting")
def test_threads_that_come_and_go_leave_memory_in_few_places() -> None:
    code = (
        "import re, threading, numpy as np\n"
        "from lakeservice.codecs.memory import keep_freed, share_arenas\n"
        "share_arenas(); keep_freed()\n"
        "waiting = threading.Barrier(9)\n"
        "def work():\n"
        "    block = np.ones(16 << 20, np.uint8)\n"
        "    waiting.wait(); del block; waiting.wait()\n"
        "for _ in range(8): threading.Thread(target=work).start()\n"
        "waiting.wait(); waiting.wait()\n"
        "with open('/proc/self/status') as file:\n"
        "    print(re.search(r'VmRSS:\\s+(\\d+)', file.read())[1])"
    )
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True)
    assert int(answer.stdout) < 110_000
