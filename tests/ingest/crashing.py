"""Formats that misbehave, for tests of the workers; their files start with the word of it."""

from __future__ import annotations

import os
import signal
import time
from typing import TYPE_CHECKING

import numpy as np

from ingest.found import Found, Item
from ingest.layouts import contiguous_array
from schemas.chunks import Contiguous

if TYPE_CHECKING:
    from ingest.source import Source


class MisbehavingFormat:
    media_type = "application/x-misbehaving"
    suffixes = (".bad",)

    def sniff(self, source: Source) -> bool:
        return source.head.startswith(b"BAD:")

    def open(self, source: Source) -> Found:
        word = source.head[4:].strip().decode()
        if word == "crash":
            os.kill(os.getpid(), signal.SIGSEGV)
        if word == "hang":
            time.sleep(600)
        if word == "memory":
            blocks = [np.ones(1 << 24) for _ in range(1000)]
            raise AssertionError(len(blocks))
        if word == "raise":
            raise RuntimeError(f"{source.path} is not to my taste")
        structure, layout = contiguous_array((4,), np.dtype("u1"))
        item = Item("", structure, layout=layout, location=Contiguous(offset=0))
        return Found([item], assets=[source.asset()])
