"""A program that writes into a lake and prints each path when it was acknowledged."""

from __future__ import annotations

import sys
import threading

import numpy as np

import lakeservice


def array_of(number: int) -> np.ndarray[tuple[int, int], np.dtype[np.int32]]:
    return np.arange(number, number + 600, dtype="i4").reshape(20, 30)


def write(url: str, key: str, first: int, prefix: str) -> None:
    lake = lakeservice.connect(url, key)
    number = first
    while True:
        name = f"{prefix}-{number}"
        kind = number % 4
        if kind == 0:
            lake.create_container(f"c{name}", metadata={"number": number})
        elif kind == 1:
            lake.write_array(f"a{name}", array_of(number), chunks=(7, 30))
        elif kind == 2:
            lake.write_table(f"t{name}", {"x": np.arange(number, number + 50)})
        else:
            with lake.transaction() as together:
                together.create_container(f"r{name}", metadata={"number": number})
                together.write_array(f"r{name}/frames", array_of(number), chunks=(5, 30))
                together.write_table(f"r{name}/rows", {"x": np.arange(number, number + 50)})
        sys.stdout.write(f"{number} {'catr'[kind]}{name}\n")
        sys.stdout.flush()
        number += 1


if __name__ == "__main__":
    for thread in range(3):
        arguments = (sys.argv[1], sys.argv[2], int(sys.argv[3]), f"{sys.argv[4]}{thread}")
        threading.Thread(target=write, args=arguments, daemon=True).start()
    threading.Event().wait(60)
