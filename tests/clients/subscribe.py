"""Tiled's own client subscribes, writes, and hears what it wrote: ``subscribe.py URL KEY``."""

from __future__ import annotations

import queue
import sys

import numpy as np
import pandas as pd
import pyarrow as pa
from tiled.client import from_uri

WAIT_S = 60


def collector():
    """Return a callback and the queue that it fills."""
    updates = queue.Queue()

    def collect(update):
        updates.put(update)

    return collect, updates


def containers_and_arrays(root):
    """A catalogue tells of a new array, and the array of its data."""
    created, children = collector()
    changed, changes = collector()
    on_root = root.subscribe()
    on_root.child_created.add_callback(created)
    on_root.child_metadata_updated.add_callback(changed)
    with on_root.start_in_thread(1):
        node = root.write_array(np.arange(12).reshape(3, 4), key="a", metadata={"n": 1})
        child = children.get(timeout=WAIT_S).child()
        assert child.metadata["n"] == 1
        fresh, updates = collector()
        on_array = child.subscribe()
        on_array.new_data.add_callback(fresh)
        with on_array.start_in_thread(1):
            np.testing.assert_array_equal(
                updates.get(timeout=WAIT_S).data(), np.arange(12).reshape(3, 4)
            )
            node.write(np.ones((3, 4), int))
            np.testing.assert_array_equal(updates.get(timeout=WAIT_S).data(), np.ones((3, 4)))
            node.patch(np.full((1, 4), 5), offset=(3,), extend=True)
            update = updates.get(timeout=WAIT_S)
            np.testing.assert_array_equal(update.data(), np.full((1, 4), 5))
            assert update.offset[0] == 3
        node.update_metadata({"n": 2})
        assert changes.get(timeout=WAIT_S).metadata["n"] == 2


def large_frames(root):
    """A frame that is too large for the client's socket is fetched by it instead."""
    image = np.arange(1000 * 1000, dtype="u2").reshape(1000, 1000)
    node = root.write_array(image, key="camera")
    fresh, updates = collector()
    subscription = node.subscribe()
    subscription.new_data.add_callback(fresh)
    with subscription.start_in_thread():
        node.write(image + 1)
        np.testing.assert_array_equal(updates.get(timeout=WAIT_S).data(), image + 1)
        node.write(image + 2, persist=False)
        rows = 0
        while rows < 1000:
            update = updates.get(timeout=WAIT_S)
            start, length = update.offset[0], update.shape[0]
            np.testing.assert_array_equal(update.data(), (image + 2)[start : start + length])
            rows += length
    np.testing.assert_array_equal(node.read(), image + 1)


def tables(root):
    """A table tells of rows that are added, in as many updates as they need."""
    table = pa.table({"x": np.arange(3), "y": np.arange(3) / 2})
    node = root.create_appendable_table(table.schema, key="t")
    fresh, updates = collector()
    subscription = node.subscribe()
    subscription.new_data.add_callback(fresh)
    with subscription.start_in_thread(1):
        node.append_partition(0, table)
        update = updates.get(timeout=WAIT_S)
        assert update.append
        pd.testing.assert_frame_equal(update.data(), table.to_pandas())
        many = pa.table({"x": np.arange(200_000), "y": np.arange(200_000) / 2})
        node.append_partition(0, many)
        parts, rows = [], 0
        while rows < 200_000:
            parts.append(updates.get(timeout=WAIT_S).data())
            rows += len(parts[-1])
        frame = pd.concat(parts, ignore_index=True)
        pd.testing.assert_frame_equal(frame, many.to_pandas())


def closing(root):
    """The client is told when its stream is closed, and does not come back."""
    node = root.create_container("run")
    closed, ends = collector()
    subscription = node.subscribe()
    subscription.stream_closed.add_callback(closed)
    subscription.start_in_thread()
    node.close_stream()
    assert ends.get(timeout=WAIT_S) is subscription


def keys(root):
    """A key that the client makes does what it may, and nothing once it is revoked."""
    context = root.context
    made = context.create_api_key(scopes=["read:metadata"], expires_in="5m", note="a test")
    assert made["scopes"] == ["read:metadata"]
    other = from_uri(str(context.api_uri), api_key=made["secret"])
    assert other.context.which_api_key()["note"] == "a test"
    assert "a" in list(other)
    context.revoke_api_key(made["first_eight"])


def main():
    """Run all of them against one server."""
    root = from_uri(f"{sys.argv[1]}/api/v1", api_key=sys.argv[2])
    for part in (containers_and_arrays, large_frames, tables, closing, keys):
        part(root)
        print(part.__name__)
    print("done")


main()
