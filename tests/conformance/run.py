"""Ask this server what Tiled's own tests ask of Tiled, and show a table.

``python -m tests.conformance.run [module …]`` runs in our environment. Each module
gets a server of its own (`tenants`), and its tests run in the environment of Tiled's
clients, with `plugin` between them and that server. The exit status is 1 when fewer
than 97 % of the cases that can be asked pass, or when a case fails that
docs/reference/tiled-compatibility.md does not except.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tarfile
import time
import xml.etree.ElementTree as ElementTree
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from tests.conformance.exceptions import Excepted, read_exceptions

ROOT = Path(__file__).parents[2]
CACHE = ROOT / ".cache" / "conformance"
PAGE = ROOT / "docs" / "reference" / "tiled-compatibility.md"
VERSION = "0.2.20"
SETTINGS = "[pytest]\nasyncio_mode = auto\n"
LEAST = 0.97
"""Share of the cases that can be asked which has to pass."""
MODULE_S = 3600
"""A module that takes longer is ended, and counts as failed."""
MODULES = (
    "array", "asset_access", "awkward", "bytes", "client_cache", "client_smoke", "composite",
    "container_fields", "container_files", "csv_adapter", "dataframe", "deep_search",
    "directory_walker", "distinct", "export", "hdf5", "history", "indexers", "inlined_contents",
    "jpeg", "npy", "pagination", "queries", "ragged", "register", "search", "select_metadata",
    "size_limit", "slicer", "sort", "sparse", "streaming", "structured_array", "subscription",
    "sync", "table_json_serialization", "tiff", "websockets", "writing", "xarray",
    "xdi_serialization", "zarr",
)  # fmt: skip


@dataclass
class Outcome:
    """What became of the cases of one module."""

    module: str
    passed: list[str] = field(default_factory=list)
    failed: dict[str, str] = field(default_factory=dict)
    """Reason by case."""
    skipped: dict[str, str] = field(default_factory=dict)
    took_s: float = 0.0


def main() -> int:
    """Run the modules and return the exit status."""
    options = _options()
    interpreter = options.python or str(ROOT / ".peer" / "bin" / "python")
    folder = tests_folder()
    exceptions = read_exceptions(PAGE)
    with ThreadPoolExecutor(options.jobs) as pool:
        runs = [
            pool.submit(run_module, module, folder, interpreter, options.timeout)
            for module in options.modules or MODULES
        ]
        outcomes = []
        for run in runs:
            outcomes.append(run.result())
            print(
                f"{outcomes[-1].module}: {outcomes[-1].took_s:.0f} s", file=sys.stderr, flush=True
            )
    return report(outcomes, exceptions)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("modules", nargs="*", metavar="module", help=", ".join(MODULES))
    parser.add_argument("--python", default=os.environ.get("LAKE_CLIENTS_PYTHON"))
    parser.add_argument("--jobs", type=int, default=2, help="modules at the same time")
    parser.add_argument("--timeout", type=int, default=300, help="seconds for one case")
    options = parser.parse_args()
    unknown = sorted(set(options.modules) - set(MODULES))
    if unknown:
        parser.error(f"no module {', '.join(unknown)}; known are {', '.join(MODULES)}")
    return options


def tests_folder() -> Path:
    """Return the folder above Tiled's tests, taken out of its source distribution."""
    CACHE.mkdir(parents=True, exist_ok=True)
    archive = CACHE / f"tiled-{VERSION}.tar.gz"
    if not archive.exists():
        subprocess.run(
            [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps",
             "--no-binary", "tiled", "--dest", str(CACHE), f"tiled=={VERSION}"],
            check=True,
        )  # fmt: skip
    folder = CACHE / f"tiled-{VERSION}"
    if not folder.exists():
        unpacked = folder.with_suffix(f".{os.getpid()}")
        with tarfile.open(archive) as packed:
            prefix = f"tiled-{VERSION}/tests/"
            members = [member for member in packed if member.name.startswith(prefix)]
            packed.extractall(unpacked, members=members, filter="data")
        # Without it, pytest would take the settings of the project around the folder.
        (unpacked / f"tiled-{VERSION}" / "pytest.ini").write_text(SETTINGS)
        (unpacked / f"tiled-{VERSION}").rename(folder)
        unpacked.rmdir()
    return folder


def run_module(module: str, folder: Path, interpreter: str, timeout_s: int) -> Outcome:
    """Run one module of Tiled's tests against a server of its own."""
    began = time.monotonic()
    log, junit = CACHE / f"{module}.log", CACHE / f"{module}.xml"
    junit.unlink(missing_ok=True)
    with (CACHE / f"{module}.server.log").open("w") as errors:
        server = subprocess.Popen(
            [sys.executable, "-m", "tests.conformance.tenants"],
            cwd=ROOT, stdout=subprocess.PIPE, stderr=errors, text=True,
        )  # fmt: skip
    try:
        address = server.stdout.readline().strip() if server.stdout else ""
        environment = {
            **os.environ,
            "PYTHONPATH": str(Path(__file__).parent),
            "LAKE_TENANTS": address,
        }
        with log.open("w") as output:
            subprocess.run(
                [interpreter, "-m", "pytest", "-p", "plugin", "-p", "no:cacheprovider", "-q",
                 f"--timeout={timeout_s}", f"--junitxml={junit}", f"tests/test_{module}.py"],
                cwd=folder, env=environment, stdout=output, stderr=subprocess.STDOUT,
                timeout=MODULE_S, check=False,
            )  # fmt: skip
    except subprocess.TimeoutExpired:
        pass
    finally:
        server.terminate()
        server.wait()
    outcome = read_outcome(module, junit)
    outcome.took_s = time.monotonic() - began
    return outcome


def read_outcome(module: str, junit: Path) -> Outcome:
    """Return what a module's report says; no report is a failure of the whole module."""
    outcome = Outcome(module)
    if not junit.exists():
        outcome.failed[f"test_{module}"] = "the module did not come to its end"
        return outcome
    for case in ElementTree.parse(junit).iter("testcase"):
        name = f"test_{module}::{case.get('name')}"
        wrong = [found for found in case if found.tag in ("failure", "error")]
        skipped = case.find("skipped")
        if wrong:
            outcome.failed[name] = (wrong[0].get("message") or "").partition("\n")[0][:160]
        elif skipped is not None:
            outcome.skipped[name] = skipped.get("message") or ""
        else:
            outcome.passed.append(name)
    outcome.passed = [name for name in outcome.passed if name not in outcome.failed]
    return outcome


def report(outcomes: list[Outcome], exceptions: list[Excepted]) -> int:
    """Print the table and what is not as it should be; return the exit status."""
    total: Counter[str] = Counter()
    unexpected: dict[str, str] = {}
    failing: set[Excepted] = set()
    print("| module | passed | failed | excepted | cannot be asked | skipped |")
    print("|---|---|---|---|---|---|")
    for outcome in outcomes:
        counts: Counter[str] = Counter(passed=len(outcome.passed), skipped=len(outcome.skipped))
        for case, why in outcome.failed.items():
            excepted = next((one for one in exceptions if one.covers(case)), None)
            if excepted is None:
                unexpected[case] = why
                counts["failed"] += 1
            else:
                failing.add(excepted)
                counts["excepted" if excepted.asked else "not asked"] += 1
        total += counts
        _print_row(outcome.module, counts)
    _print_row("in all", total)
    asked = total["passed"] + total["failed"] + total["excepted"]
    share = total["passed"] / asked if asked else 0.0
    print(f"\n{total['passed']} of {asked} cases that can be asked pass: {share:.1%}")
    for case, why in sorted(unexpected.items()):
        print(f"failed: {case}: {why}")
    ran = {outcome.module for outcome in outcomes}
    for one in exceptions:
        module = one.case.partition("::")[0].removeprefix("test_")
        if module in ran and one not in failing:
            print(f"excepted, and passes or is skipped: {one.case}")
    return 1 if unexpected or share < LEAST else 0


def _print_row(name: str, counts: Counter[str]) -> None:
    columns = ("passed", "failed", "excepted", "not asked", "skipped")
    print(f"| {name} | " + " | ".join(str(counts[column]) for column in columns) + " |")


if __name__ == "__main__":
    sys.exit(main())
