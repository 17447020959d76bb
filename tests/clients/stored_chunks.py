"""Arrays of a server, read with Tiled's own client and compared with NumPy files.

``python stored_chunks.py ADDRESS KEY FOLDER``: each ``PATH.npy`` below the folder is the
truth of the array PATH. Those whose name begins with ``blosc`` must come as stored.
"""

import itertools
import sys
from pathlib import Path

import numpy as np
from tiled.client import from_uri

INDEXES = (  # of arrays with one axis or more
    np.s_[...],
    np.s_[0],
    np.s_[-1],
    np.s_[1:3],
    np.s_[4:8],
    np.s_[3:],
    np.s_[::2],
    np.s_[::-1],
    np.s_[..., 1:5],
    np.s_[..., 2],
)


def same(found, wanted, what):
    assert found.shape == wanted.shape, (what, found.shape, wanted.shape)
    assert found.dtype == wanted.dtype, (what, found.dtype, wanted.dtype)
    assert found.tobytes() == wanted.tobytes(), what


def main(address, key, folder):
    root = from_uri(address, api_key=key)
    encodings = []
    root.context.http_client.event_hooks["response"].append(
        lambda answer: encodings.append(answer.headers.get("content-encoding"))
    )
    compared = 0
    for file in sorted(Path(folder).rglob("*.npy")):
        truth = np.load(file)
        client = root[file.relative_to(folder).with_suffix("").parts]
        encodings.clear()
        same(client.read(), truth, file.stem)
        if file.stem.startswith("blosc"):
            assert encodings == ["blosc2"], (file.stem, encodings)
        for index in INDEXES:
            same(client[index], truth[index], (file.stem, index))
            compared += 1
        starts = [np.cumsum((0, *sizes)) for sizes in client.chunks]
        for position in itertools.product(*(range(len(sizes)) for sizes in client.chunks)):
            bounds = tuple(
                slice(edges[n], edges[n + 1]) for edges, n in zip(starts, position, strict=True)
            )
            same(client.read_block(position), truth[bounds], (file.stem, position))
            first = client.read_block(position, slice=np.s_[0:2])
            same(first, truth[bounds][0:2], (file.stem, position, "0:2"))
            compared += 2
        compared += from_afar(client, truth, encodings)
    frame = root["a table"].read()
    root.context.http_client.headers["X-Forwarded-For"] = "203.0.113.7"
    encodings.clear()
    assert root["a table"].read().equals(frame)
    assert "blosc2" in encodings, encodings
    assert (frame["n"] == np.arange(len(frame)) % 100).all()
    print(f"{compared} answers compared")


def from_afar(client, truth, encodings):
    """Read as a client behind a proxy, to whom all that saves is sent compressed."""
    http = client.context.http_client
    http.headers["X-Forwarded-For"] = "203.0.113.7"
    try:
        encodings.clear()
        same(client[..., 1:], truth[..., 1:], "from afar")
        assert truth.nbytes < 8000 or encodings == ["blosc2"], (client.uri, encodings)
        for accepted in ("lz4", "zstd", "gzip", "identity"):
            http.headers["Accept-Encoding"] = accepted
            answer = http.get(client.uri.replace("/metadata/", "/array/full/"))
            payload = answer.read()
            if accepted == "lz4" and answer.headers.get("content-encoding") == "lz4":
                continue  # it has no decoder of its own
            assert payload == truth.tobytes(), accepted
    finally:
        del http.headers["X-Forwarded-For"]
        http.headers["Accept-Encoding"] = "gzip, deflate, zstd, blosc2"
    return 5


if __name__ == "__main__":
    main(*sys.argv[1:])
