"""Filter pipelines of HDF5 as codec chains."""

from __future__ import annotations

from typing import TYPE_CHECKING

from h5py import h5z

from ingest.formats.hdf5_dataset import ScatteredError
from ingest.formats.hdf5_files import BrokenError
from ingest.formats.hdf5_values import load_plugins
from lakeservice.codecs.registry import unsupported
from schemas.chunks import Codec

if TYPE_CHECKING:
    from h5py import h5p

FILTERS = {
    1: "deflate",
    2: "shuffle",
    3: "fletcher32",
    4: "szip",
    5: "nbit",
    6: "scaleoffset",
    307: "bzip2",
    32000: "lzf",
    32001: "blosc",
    32004: "lz4",
    32008: "bitshuffle",
    32013: "zfp",
    32015: "zstd",
    32017: "sz",
    32018: "fcidecomp",
    32024: "sz3",
    32026: "blosc2",
    32028: "sperr",
    32037: "htj2k",
}
"""Registered identifiers: https://github.com/HDFGroup/hdf5_plugins/blob/master/docs/RegisteredFilterPlugins.md"""


def codecs_of(creation: h5p.PropDCID) -> tuple[Codec, ...]:
    """Return the filters of a dataset as codecs ``hdf5.<name>``, in the order of the pipeline.

    Raises
    ------
    ScatteredError
        Only the HDF5 library can undo one of them.
    BrokenError
        Nothing that is installed can.
    """
    codecs: list[Codec] = []
    unknown: list[str] = []
    for index in range(creation.get_nfilters()):
        number, _, options, name = creation.get_filter(index)
        known = FILTERS.get(number)
        if known is None:
            unknown.append(f"{number} ({name.decode('utf-8', 'replace')})" if name else str(number))
        if not _available(number):
            raise BrokenError(f"no decoder for HDF5 filter {number} is installed")
        codecs.append(Codec(f"hdf5.{known or number}", {"options": [int(one) for one in options]}))
    if unknown:
        raise ScatteredError(f"only HDF5 can undo filter {', '.join(unknown)}")
    remark = unsupported(codecs)
    if remark is not None:
        raise ScatteredError(remark)
    return tuple(codecs)


def _available(number: int) -> bool:
    if h5z.filter_avail(number):
        return True
    load_plugins()
    return bool(h5z.filter_avail(number))
