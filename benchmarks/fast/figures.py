"""The lines of the fast lane: each against Tiled and against a limit of the same run."""

from __future__ import annotations

from typing import TYPE_CHECKING

from benchmarks.fast.measuring import CROWD, OTHERS
from benchmarks.found import MB, MS, line, times
from benchmarks.report import Limit

if TYPE_CHECKING:
    from benchmarks.found import Found
    from benchmarks.report import Figure

GROUP = "fast"
BULK = ("hdf5_gb_s", "zarr_gb_s")
WORKERS = ("workers0_gb_s", "workers2_gb_s")
MEMORIES = (("touched", "memory used before"), ("fresh", "fresh memory"))
NAMES = {
    "zarr_python": "zarr-python",
    "zarrs": "zarr-python with zarrs",
    "tensorstore": "TensorStore",
    "of_h5py": "h5py",
}


def fast_figures(us: Found, them: Found) -> list[Figure | None]:
    """Return the lines, each with its targets."""
    return [
        *_stack(us, them),
        *_others(us),
        *_eiger(us, them),
        *_small(us, them),
        *_tables(us, them),
        *_loader(us, them),
        *_clients(us, them),
        *_reductions(us, them),
    ]


def limit(value: float | None, what: str, share: float | None = None) -> Limit | None:
    """Return a limit, or None where it was not measured."""
    return None if value is None else Limit(value, what, share)


def _stack(us: Found, them: Found) -> list[Figure | None]:
    peer = them.best("bulk", BULK, 1.0, "most")
    unverified = us.get("fast_direct", "loop_unverified_gb_s")
    lines = [
        line(
            f"stack, direct, {where}",
            "GB/s",
            us.get("fast_direct", f"{memory}_gb_s"),
            peer,
            times(36) if memory == "touched" else None,
            limit=limit(us.get("fast_direct", f"loop_{memory}_gb_s"), "bare loop", 0.9),
            note=f"loop without checksums {unverified:.3g}"
            if unverified and memory == "touched"
            else "",
            server_mb=us.server_mb("fast_direct"),
            group=GROUP,
        )
        for memory, where in MEMORIES
    ]
    bare = us.best("fast_decoded", ("bare_one_gb_s", "bare_two_gb_s"), 1.0, "most")
    for how, factor, bound in (
        ("encoded", 22, limit(us.get("fast_encoded", "loop_touched_gb_s"), "bare loop", 0.55)),
        ("decoded", 10, limit(bare, "bare Flight server", 0.6)),
    ):
        lines.append(
            line(
                f"stack, {how} over Flight",
                "GB/s",
                us.get(f"fast_{how}", "touched_gb_s"),
                peer,
                times(factor),
                limit=bound,
                server_mb=us.server_mb(f"fast_{how}"),
                group=GROUP,
            )
        )
    return lines


def _others(us: Found) -> list[Figure | None]:
    return [
        line(
            f"stack, direct, {where}, and {NAMES[other]}",
            "GB/s",
            us.get("fast_direct", f"{memory}_gb_s"),
            limit=limit(
                us.get(f"other_{other}", f"{memory}_gb_s"),
                NAMES[other],
                1.5 if other == "zarrs" else None,
            ),
            group=GROUP,
        )
        for other in OTHERS
        for memory, where in MEMORIES
        if us.get(f"other_{other}", f"{memory}_gb_s")
    ]


def _eiger(us: Found, them: Found) -> list[Figure | None]:
    h5py = us.best("fast_eiger", ("h5py_whole_gb_s", "h5py_frames_gb_s"), 1.0, "most")
    delivery = us.text("fast_eiger", "delivery")
    lines = [
        line(
            f"Eiger stack, registered HDF5, {delivery}",
            "GB/s",
            us.get("fast_eiger", "auto_gb_s"),
            them.get("fast_eiger", "gb_s"),
            times(15),
            limit=limit(h5py, "h5py", 0.8),
            server_mb=us.server_mb("fast_eiger"),
            group=GROUP,
        )
    ]
    lines += [
        line(
            f"Eiger stack, registered HDF5, {how}",
            "GB/s",
            us.get("fast_eiger", f"{how}_gb_s"),
            them.get("fast_eiger", "gb_s"),
            limit=limit(h5py, "h5py"),
            group=GROUP,
        )
        for how in ("encoded", "decoded")
    ]
    return lines


def _small(us: Found, them: Found) -> list[Figure | None]:
    names = ("hdf5_s", "zarr_s")
    of_frame = them.best("frames", names, MS, "least")
    of_slice = them.best("slices", names, MS, "least")
    bare = limit(us.get("fast_slice", "bare_s", MS), "bare DoGet")
    share = limit(us.get("fast_slice", "bare_s", MS), "bare DoGet", 0.6)
    return [
        *(
            line(
                f"one frame, random, {how}",
                "ms",
                us.get("fast_frame", f"{how}_s", MS),
                of_frame,
                times(40) if how == "auto" else None,
                note=us.text("fast_frame", "auto_came") if how == "auto" else "",
                server_mb=us.server_mb("fast_frame"),
                group=GROUP,
            )
            for how in ("auto", "encoded", "decoded")
        ),
        line(
            "one frame of many by take",
            "ms",
            us.get("fast_frame", "take_s", MS),
            of_frame,
            group=GROUP,
        ),
        *(
            line(
                f"100 × 100 pixels, one by one, {how}",
                "ms",
                us.get("fast_slice", f"{how}_s", MS),
                of_slice,
                times(80) if how == "auto" else None,
                limit=share if how == "auto" else bare,
                server_mb=us.server_mb("fast_slice"),
                group=GROUP,
            )
            for how in ("auto", "encoded", "decoded")
        ),
        *(
            line(
                f"100 × 100 pixels, by take, {how}",
                "ms",
                us.get("fast_take", f"{how}_s", MS),
                of_slice,
                times(300) if how == "auto" else None,
                server_mb=us.server_mb("fast_take"),
                group=GROUP,
            )
            for how in ("auto", "decoded")
        ),
    ]


def _tables(us: Found, them: Found) -> list[Figure | None]:
    rows = int(us.get("fast_fasttable", "rows") or 0)
    refused = them.text("long_table", "refused").partition(". ")[0]
    return [
        line(
            f"{rows:,} rows, {what}, {how}",
            "ms",
            us.get("fast_fasttable", f"{ask}_{how}_s", MS),
            them.get("long_table", "seconds", MS) if ask == "all" else None,
            limit=limit(
                us.get("fast_fasttable", f"{ask}_pyarrow_s", MS),
                "pyarrow.dataset",
                0.8 if how == "auto" else None,
            ),
            note=f"Tiled: {refused}" if refused and ask == "all" and how == "auto" else "",
            server_mb=us.server_mb("fast_fasttable"),
            group=GROUP,
        )
        for ask, what in (("all", "all"), ("column", "one column"), ("filter", "0.1 % of them"))
        for how in ("auto", "decoded")
    ]


def _loader(us: Found, them: Found) -> list[Figure | None]:
    ours = us.get("fast_loader", "gb_s")
    missing = them.text("fast_loader", "missing")
    rate, held = us.get("fast_loader", "frames_per_s"), us.get("fast_loader", "held_bytes", 1 / MB)
    note = "" if not rate else f"{rate:,.0f} frames/s, {held or 0:.0f} MB held"
    return [
        line(
            "loader, shuffled frames of 512 × 512",
            "GB/s",
            ours,
            them.best("fast_loader", WORKERS, 1.0, "most"),
            times(30),
            f"{note}; no {missing} for Tiled's" if missing else note,
            limit(us.get("fast_loader", "in_order_gb_s"), "the same array in order, direct", 0.8),
            us.server_mb("fast_loader"),
            GROUP,
        ),
        line(
            "loader, and webdataset",
            "GB/s",
            ours if us.best("other_webdataset", WORKERS, 1.0, "most") else None,
            limit=limit(us.best("other_webdataset", WORKERS, 1.0, "most"), "webdataset"),
            group=GROUP,
        ),
    ]


def _clients(us: Found, them: Found) -> list[Figure | None]:
    of_stacks = [them.get(f"crowd_{stack}", "gb_s") for stack in ("hdf5", "zarr")]
    peer = max((rate for rate in of_stacks if rate is not None), default=None)
    return [
        line(
            f"{CROWD} clients at once, {how}, in sum",
            "GB/s",
            us.get(f"crowd_{how}_{CROWD}", "gb_s"),
            peer,
            times(20) if how == "auto" else None,
            limit=limit(
                us.get(f"crowd_{how}_1", "gb_s"),
                "one client",
                0.9 if how == "auto" else None,
            ),
            server_mb=us.server_mb(f"crowd_{how}_{CROWD}"),
            group=GROUP,
        )
        for how in ("auto", "encoded", "decoded")
    ]


def _reductions(us: Found, them: Found) -> list[Figure | None]:
    return [
        line(
            f"{what} by the server, and read {where}",
            "ms",
            us.get("fast_reduce", f"{name}_s", MS),
            them.best("fast_reduce", (f"hdf5_{name}_s", f"zarr_{name}_s"), MS, "least"),
            limit=limit(
                us.get("fast_reduce", f"{name}_{how}_s", MS), f"read {where}, reduced here"
            ),
            server_mb=us.server_mb("fast_reduce"),
            group=GROUP,
        )
        for name, what in (
            ("mean", "mean of all frames"),
            ("region", "sum of 100 × 100 pixels through time"),
        )
        for how, where in (("decoded", "decoded"), ("here", "by auto"))
    ]
