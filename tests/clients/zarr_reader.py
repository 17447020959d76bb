"""A server's tree read with zarr-python and xarray, compared with NumPy files.

``python zarr_reader.py ADDRESS KEY FOLDER``: each ``PATH.npy`` below the folder is the
truth of the array PATH; ``ADDRESS/zarr/v2`` and ``ADDRESS/zarr/v3`` are the stores.
"""

import sys
import warnings
from pathlib import Path

import numpy as np
import xarray
import zarr
from fsspec.implementations.http import HTTPFileSystem

warnings.filterwarnings("ignore", category=zarr.errors.UnstableSpecificationWarning)


def same(found, wanted):
    """Tell whether elements are equal; version 3 does not know of byte orders."""
    found = np.asarray(found)
    return found.shape == wanted.shape and found.astype(wanted.dtype).tobytes() == wanted.tobytes()


def main(address, key, folder):
    headers = {"Authorization": f"Apikey {key}"}
    fs = HTTPFileSystem(client_kwargs={"headers": headers}, asynchronous=True)
    truths = {
        "/".join(file.relative_to(folder).with_suffix("").parts): np.load(file)
        for file in sorted(Path(folder).rglob("*.npy"))
    }
    for version in (2, 3):
        url = f"{address}/zarr/v{version}"
        store = zarr.storage.FsspecStore(fs, path=url, read_only=True)
        root = zarr.open_group(store, mode="r", zarr_format=version)
        listed = zarr.open_group(store, mode="r", zarr_format=version, use_consolidated=False)
        top = {path.partition("/")[0] for path in truths}
        assert top <= set(root.keys()), (top, set(root.keys()))
        assert top <= set(listed.keys())
        for path, truth in truths.items():
            array = root[path]
            assert same(array[...], truth), (version, path)
            if truth.ndim and truth.shape[0] > 3:
                assert same(array[1:3], truth[1:3]), (version, path)
            again = zarr.open(store=zarr.storage.FsspecStore(fs, path=f"{url}/{path}"), mode="r")
            assert same(again[...], truth), (version, path)
        options = {"client_kwargs": {"headers": headers}}
        data = xarray.open_zarr(f"{url}/scene", storage_options=options, zarr_format=version)
        assert data["image"].dims == ("y", "x")
        assert (data["image"].values == truths["scene/image"]).all()
        assert (data["y"].values == truths["scene/y"]).all()
        assert data["image"].attrs["units"] == "counts"
        rows = xarray.open_zarr(f"{url}/table", storage_options=options, zarr_format=version)
        assert (rows["a"].values == truths["table/a"]).all()
    print(f"{len(truths)} arrays compared")


if __name__ == "__main__":
    main(*sys.argv[1:])
