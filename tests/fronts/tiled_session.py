"""A session of Tiled's own Python client, run by a Python that has it: address, key."""
# mypy: ignore-errors

import sys

import dask.array
import numpy as np
import pandas as pd
import pyarrow as pa
from tiled.client import from_uri
from tiled.queries import (
    Contains,
    FullText,
    In,
    Key,
    KeyPresent,
    KeysFilter,
    Like,
    NotIn,
    Regex,
    SpecsQuery,
    StructureFamilyQuery,
)


def refused(error, text, action):
    try:
        action()
    except error as caught:
        assert text in str(caught), str(caught)
    else:
        raise AssertionError(f"nothing was raised; expected {error.__name__}: {text}")


def arrays(c):
    box = c.create_container("box")
    small = np.arange(12).reshape(3, 4)
    written = box.write_array(small, key="small", metadata={"k": 1}, dims=["y", "x"])
    for client in (written, box["small"]):
        assert (client.read() == small).all()
        assert client.dims in (("y", "x"), ["y", "x"])
        for index in (np.s_[1:3, ::2], np.s_[::-1], np.s_[..., 1], np.s_[1, 2], np.s_[-1]):
            assert np.array_equal(client[index], small[index]), index
        assert (client.read_block((0, 0)) == small).all()
        assert (client.read_block((0, 0), slice=np.s_[0:1]) == small[0:1]).all()
    chunked = np.arange(24.0).reshape(4, 6)
    box.write_array(dask.array.from_array(chunked, chunks=(3, 4)), key="chunked")
    assert box["chunked"].chunks == ((3, 1), (4, 2))
    assert (box["chunked"].read() == chunked).all()
    assert (box["chunked"].read_block((1, 1)) == chunked[3:, 4:]).all()
    for text in ("<M8[ns]", "<m8[s]", "<U2", "<f4", ">i2", "<c16", "|b1", "|S3", "<f2"):
        array = np.arange(5).astype(text)
        box.write_array(array, key=f"dtype {text}")
        back = box[f"dtype {text}"].read()
        assert back.dtype == array.dtype
        assert (back == array).all()
    assert box.write_array(np.array(3.0), key="scalar").read() == 3.0
    assert box["scalar"].read() == 3.0
    box.write_array(np.empty((0, 3)), key="empty")
    assert box["empty"].read().shape == (0, 3)
    uneven = dask.array.from_array(np.arange(10.0), chunks=((3, 2, 5),))
    box.write_array(uneven, key="uneven")
    assert box["uneven"].chunks == ((3, 2, 5),)
    assert (box["uneven"].read() == np.arange(10.0)).all()
    refused(Exception, "409", lambda: box.write_array(small, key="small"))
    refused(Exception, "406", lambda: box["small"].export("x.docx"))


def tables(c):
    frame = pd.DataFrame({"a": [1, 2, 3], "b": ["x", "y", "z"], "c": [1.0, 2.0, 3.0]})
    written = c.write_table(frame, key="table", metadata={"m": 1})
    for client in (written, c["table"]):
        assert list(client) == ["a", "b", "c"]
        back = client.read()
        assert back.equals(frame.astype(back.dtypes.to_dict()))
        assert client.read(["c", "a"]).equals(frame[["c", "a"]])
        assert (client["c"].read() == frame["c"].to_numpy()).all()
    many = pd.DataFrame({f"column {n:05}": [n] for n in range(300)})
    c.write_table(many, key="wide")
    assert c["wide"].read(list(many.columns)).equals(many)
    indexed = frame[["a", "c"]].set_index(pd.Index([5, 6, 9]))
    c.write_table(indexed, key="indexed")
    assert c["indexed"].read().equals(indexed)
    assert c["indexed"].read(["a"]).equals(indexed[["a"]])
    schema = pa.schema([("i", pa.int64()), ("s", pa.string())])
    growing = c.create_appendable_table(schema, key="growing")
    growing.append_partition(0, pa.table({"i": [1, 2], "s": ["a", "b"]}))
    growing.append_partition(0, pa.table({"i": [3], "s": ["c"]}))
    for client in (growing, c["growing"]):
        assert client.read()["i"].tolist() == [1, 2, 3]
        assert client.read_partition(0)["s"].tolist() == ["a", "b", "c"]
    refused(KeyError, "nope", lambda: c["table"]["nope"])


def search(c):
    for n in range(5):
        c.create_container(
            f"r{n}",
            metadata={
                "color": ["red", "blue"][n % 2],
                "n": n,
                "start": {"plan_name": "scan", "detectors": ["det", "ccd"]},
            },
            specs=["MyScan"],
        )
    runs = [f"r{n}" for n in range(5)]
    assert list(c) == runs
    assert len(c) == 5
    assert list(c.keys()[1:3]) == ["r1", "r2"]
    assert c.keys().first() == "r0"
    assert c.keys().last() == "r4"
    assert c.values().last().metadata["n"] == 4
    assert [key for key, _ in c.items()] == runs
    for query, names in (
        (Key("color") == "red", ["r0", "r2", "r4"]),
        (Key("color") != "red", ["r1", "r3"]),
        (Key("n") >= 3, ["r3", "r4"]),
        (Key("n") < 1, ["r0"]),
        (FullText("blue"), ["r1", "r3"]),
        (Contains("start.detectors", "ccd"), runs),
        (In("n", [1, 2]), ["r1", "r2"]),
        (NotIn("n", [1, 2]), ["r0", "r3", "r4"]),
        (Like("color", "re%"), ["r0", "r2", "r4"]),
        (Regex("color", "^b"), ["r1", "r3"]),
        (KeyPresent("start.plan_name"), runs),
        (KeyPresent("start.plan_name", exists=False), []),
        (KeysFilter(["r1", "r9"]), ["r1"]),
        (SpecsQuery(["MyScan"]), runs),
        (StructureFamilyQuery("array"), []),
    ):
        found = c.search(query)
        assert list(found) == names, query
        assert len(found) == len(names), query
    reds = c.search(Key("color") == "red").search(Key("n") > 0)
    assert list(reds) == ["r2", "r4"]
    assert reds["r2"].metadata["n"] == 2
    refused(KeyError, "r1", lambda: reds["r1"])
    refused(KeyError, "nope", lambda: c["nope"])
    assert list(c.sort(("n", -1))) == runs[::-1]
    assert list(c.sort(("color", 1), ("n", -1))) == ["r3", "r1", "r4", "r2", "r0"]
    told = c.distinct("color", counts=True, structure_families=True, specs=True)
    assert {value["value"]: value["count"] for value in told["metadata"]["color"]} == {
        "red": 3,
        "blue": 2,
    }
    c["r1"].create_container("inner", metadata={"k": 1})
    assert list(c.search_deep(Key("k") == 1)) == [("r1", "inner")]
    for n in range(150):
        c["r2"].create_container(f"child {n}")
    assert list(c["r2"]) == [f"child {n}" for n in range(150)]
    assert c["r2"].keys().last() == "child 149"


def metadata(c):
    box = c.create_container("box", metadata={"color": "red"}, specs=["MySpec"])
    box.update_metadata({"nested": {"a": 1}})
    box.update_metadata(specs=["MySpec", "Other"])
    assert dict(c["box"].metadata) == {"color": "red", "nested": {"a": 1}}
    assert [spec.name for spec in c["box"].specs] == ["MySpec", "Other"]
    c["box"].update_metadata({"nested": {"a": 2}}, drop_revision=True)
    assert c["box"].metadata["nested"]["a"] == 2
    box.replace_metadata({"z": 1})
    assert dict(c["box"].metadata) == {"z": 1}
    inner = box.write_array(np.arange(3), key="inner")
    (source,) = box["inner"].data_sources()
    assert source.structure["shape"] in ((3,), [3])
    assert inner.path_parts[-2:] == ["box", "inner"]
    assert c["box", "inner"].parent.path_parts[-1] == "box"
    refused(Exception, "409", lambda: c.create_container("box"))
    refused(Exception, "409", lambda: c.delete_contents("box"))
    refused(Exception, "external_only", lambda: box.delete_contents("inner"))
    box.delete_contents("inner", external_only=False)
    c.delete_contents("box")
    assert list(c) == []
    refused(Exception, "401", lambda: from_uri(sys.argv[1], api_key="wrong"))
    assert c.context.server_info.authentication.required


if __name__ == "__main__":
    root = from_uri(sys.argv[1], api_key=sys.argv[2])
    for part in (arrays, tables, search, metadata):
        part(root.create_container(part.__name__))
    assert list(root) == ["arrays", "tables", "search", "metadata"]
    print("all as expected")
