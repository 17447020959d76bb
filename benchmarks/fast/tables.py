"""The long table by our client, beside ``pyarrow.dataset`` in the same process on the same file.

``python -m benchmarks.fast.tables NAME PLAN`` prints one JSON object.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pyarrow.dataset

from benchmarks.fast.ours import connect
from benchmarks.timing import answer, contest
from lakeservice.demo.memory import peak_resident

if TYPE_CHECKING:
    from benchmarks.timing import Values

TABLE = "registered/table_long"
FEW = 3.0902
"""A normal deviate is larger than this once in a thousand times."""
ASKS: dict[str, dict[str, Any]] = {
    "all": {},
    "column": {"columns": ["i0"]},
    "filter": {"where": f"i0 > {FEW}"},
}
DELIVERIES = ("auto", "decoded")


def table(plan: dict[str, Any]) -> Values:
    """Read all of it, one column, and the rows that a filter leaves: one in a thousand."""
    node = connect(plan)[TABLE]
    dataset = pyarrow.dataset.dataset(plan["table_file"])
    values: Values = {"rows": plan["long_rows"]}
    for name, ask in ASKS.items():
        columns = ask.get("columns")
        chosen = pyarrow.dataset.field("i0") > FEW if "where" in ask else None
        expected = dataset.to_table(columns=columns, filter=chosen)
        for how in DELIVERIES:
            if not node.to_arrow(**ask, delivery=how).equals(expected):
                raise SystemExit(f"{name}, {how}: the tables differ")
        size = expected.nbytes
        del expected
        taken = contest(
            {
                "pyarrow": lambda c=columns, f=chosen: dataset.to_table(columns=c, filter=f),  # type: ignore[misc]
                **{
                    how: lambda ask=ask, how=how: node.to_arrow(**ask, delivery=how)  # type: ignore[misc]
                    for how in DELIVERIES
                },
            },
            rounds=4,
        )
        values |= {f"{name}_{who}_s": seconds for who, seconds in taken.items()}
        values[f"{name}_bytes"] = size
    return values | {"client_bytes": peak_resident()}


if __name__ == "__main__":
    answer(globals())
