"""Tiled's own client writes and reads sparse, awkward and ragged data.

``nested.py write URL KEY FILE`` writes, and pickles what it wrote as lists;
``nested.py read URL KEY FILE`` pickles what it reads below ``ours`` as lists.
"""

from __future__ import annotations

import pickle
import sys

import awkward as ak
import numpy as np
import sparse
from tiled.client import from_uri

RANDOM = np.random.default_rng(1)
DENSE = np.where(RANDOM.random((6, 7)) < 0.3, RANDOM.random((6, 7)), 0.0)
AWKWARD = {
    "records": ak.Array([[{"x": 1.5, "y": [1, 2]}], [], [{"x": 2.5, "y": []}] * 3]),
    "missing": ak.Array([1.5, None, 3.5]),
    "texts": ak.Array(["a", "bcd", ""]),
    "union": ak.Array([1, "two", [3.0]]),
    "regular": ak.from_numpy(np.arange(12).reshape(2, 3, 2), regulararray=True),
}
RAGGED = {
    "lists": [[1.0, 2.0], [], [3.0, 4.0, 5.0]],
    "deep": [[[1.0], []], [[2.0, 3.0]], []],
}


def write(root):
    """Write into ``theirs`` and return it as lists."""
    home = root.create_container("theirs")
    coo = sparse.COO.from_numpy(DENSE)
    home.write_sparse(coords=coo.coords, data=coo.data, shape=coo.shape, key="sparse")
    written = {"sparse": DENSE.tolist()}
    for name, array in AWKWARD.items():
        home.write_awkward(array, key=name)
        assert home[name].read().to_list() == array.to_list()
        written[name] = array.to_list()
    for name, rows in RAGGED.items():
        node = home.write_ragged(rows, key=name)
        node.patch(rows, offset=len(rows), extend=True)
        written[name] = rows + rows
    return written


def read(root):
    """Return what is below ``ours``, as lists."""
    found = {}
    for name, node in root["ours"].items():
        content = node.read()
        if isinstance(content, sparse.COO):
            found[name] = content.todense().tolist()
            assert node[1:, 2:5].todense().tolist() == content[1:, 2:5].todense().tolist()
        else:
            found[name] = content.tolist()
    return found


if __name__ == "__main__":
    task, url, key, file = sys.argv[1:]
    told = {"write": write, "read": read}[task](from_uri(url, api_key=key))
    with open(file, "wb") as out:
        pickle.dump(told, out)
