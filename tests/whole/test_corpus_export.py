"""Real files of small-angle scattering go through the lake and come out as they were."""

from __future__ import annotations

import io
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import h5py
import numpy as np
import pytest

from ingest.ingest import ingest
from lakeservice.commands.ingest import ServiceCommitter

if TYPE_CHECKING:
    from tests.whole.conftest import Running

FOLDER = Path(__file__).resolve().parents[3] / "shared" / "corpus" / "nxcansas"
FILES = sorted(FOLDER.glob("*.h5")) if FOLDER.is_dir() else []
pytestmark = pytest.mark.corpus


@pytest.mark.skipif(not FILES, reason="no corpus")
@pytest.mark.parametrize("mode", ["register", "convert"])
def test_files_of_nxcansas_come_back(
    running: Running, mode: Literal["register", "convert"]
) -> None:
    service = running.service
    ingest([FOLDER], service.lake.uri, ServiceCommitter(service), into=mode, mode=mode)
    for path in FILES:
        answer = running.get("container/full", f"{mode}/{path.stem}", format="nxs")
        assert answer.status == 200, answer.data
        compare(path, answer.data)


def compare(path: Path, payload: bytes) -> None:
    with h5py.File(path) as original, h5py.File(io.BytesIO(payload)) as exported:

        def same(name: str, item: Any) -> None:
            for key in ("NX_class", "canSAS_class", "signal", "units"):
                if key in item.attrs:
                    assert np.array_equal(exported[name].attrs[key], item.attrs[key]), (name, key)
            if isinstance(item, h5py.Dataset):
                read, wanted = np.asarray(exported[name][()]), np.asarray(item[()])
                assert np.array_equal(read.reshape(-1), wanted.reshape(-1)), name

        original.visititems(same)
