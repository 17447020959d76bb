"""A writer in a process of its own: writes data and commits entries until it is done or killed.

``writer_process.py <lake> <name> <entries> <threads>`` prints each path once it is acknowledged,
and the paths and revisions of the whole lake at the end.
"""

from __future__ import annotations

import hashlib
import os
import sys
import threading

import pyarrow as pa

from lakeservice.storage.commits import MemoryState
from lakeservice.storage.committer import Committer
from lakeservice.storage.lake import Lake
from lakeservice.storage.layout import new_id, table_part
from schemas.chunks import Part, TableStorage
from schemas.commit import Append, Create
from schemas.entry import DataSource, Node
from schemas.errors import ConflictError
from schemas.structures import TableStructure

STRUCTURE = TableStructure.from_arrow(pa.schema([("x", pa.int8())]), rows=1)


def say(words: str) -> None:
    """Write one line in one system call: a line is there whole or not at all."""
    os.write(1, f"{words}\n".encode())


def write_entry(lake: Lake, committer: Committer, path: str, *, shared: str) -> None:
    """Write an entry with data, a second part to it, and race for a path that all want."""
    node_id = new_id()
    parts = []
    for number in range(2):
        part = Part(name=table_part(node_id, number), length=1, size_bytes=2000)
        # A killed process loses nothing that the system has; only a power cut would.
        lake.objects.put(part.name, bytes(2000), durable=False)
        parts.append(part)
    storage = TableStorage(parts=(parts[0],))
    source = DataSource(mimetype="application/x-parquet", storage=storage)
    node = Node(
        path=path,
        id=node_id,
        structure=STRUCTURE,
        data_sources=(source,),
        metadata={"path": path},
    )
    committer.commit([Create(node=node, parents=True)], key=path)
    say(f"acknowledged {path}")
    committer.commit([Append(path=path, id=node_id, parts=(parts[1],))], key=f"{path} append")
    say(f"appended {path}")
    try:
        committer.commit([Create(node=Node(path=shared, id=new_id()), parents=True)])
    except ConflictError:
        return
    say(f"won {shared}")


def main() -> None:
    """Write entries with some threads, then tell what the lake looks like from here."""
    uri, name, entries, threads = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
    lake, state = Lake.open(uri), MemoryState()
    committer = Committer(lake, state)
    committer.follow()
    say("ready")
    sys.stdin.readline()

    def write(thread: int) -> None:
        for number in range(thread, entries, threads):
            write_entry(lake, committer, f"{name}/{number}", shared=f"shared/{number}")

    workers = [threading.Thread(target=write, args=(number,)) for number in range(threads)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    say("done")
    sys.stdin.readline()
    committer.follow()
    nodes = sorted((node.path, node.id, node.revision, node.seq, node.version) for node in state)
    say(f"state {state.version} {hashlib.sha256(repr(nodes).encode()).hexdigest()}")


if __name__ == "__main__":
    main()
