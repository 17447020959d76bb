"""The route that reduces an array: means, sums, bins and histograms, in any form."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from lakeservice.export.registry import exporters_of
from lakeservice.fronts.http.arrays import SLICE
from lakeservice.fronts.http.exports import described, exported
from lakeservice.fronts.http.negotiation import chosen
from lakeservice.fronts.http.operations import AS_OF, FILE_NAME, FORMAT, Operation, Parameter
from lakeservice.service.reduced_source import HistogramRows, ReducedRows
from schemas.errors import ErrorKind, InvalidRequestError
from schemas.ticket import STATISTICS, BinArray, HistogramArray, ReduceArray

if TYPE_CHECKING:
    from lakeservice.fronts.http.call import Call, Reply
    from schemas.entry import Node
    from schemas.ticket import Statistic

MOST_NUMBERS = 4096
"""Most numbers in a parameter."""
_WHOLE = re.compile(r"\s*[+-]?\d{1,18}\s*", re.ASCII)
_BROKEN_BY = {
    "histogram": ("do", "axis", "bin", "ddof", "keepdims"),
    "bin": ("axis", "ddof", "keepdims"),
}


def reduce(call: Call) -> Reply:
    """Return what is left of an array when elements are taken together.

    ``do=mean&axis=0`` takes axes together, ``bin=1,4,4`` neighbours, and ``histogram=256``
    counts values; ``slice`` says of which part of the array.
    """
    node = described(call)
    _check_together(call)
    if call.params.get("histogram"):
        return _histogram(call, node)
    if call.params.get("bin"):
        return _reply(
            call,
            node,
            BinArray(
                path=node.path,
                factors=_integers(call, "bin") or (),
                how=_statistic(call) or "mean",
                selection=call.params.get("slice"),
            ),
        )
    how = _statistic(call)
    if how is None:
        raise _bad(f"nothing to do; write do={'|'.join(STATISTICS)}, bin=1,4,4 or histogram=256")
    request = ReduceArray(
        path=node.path,
        how=how,
        axis=_integers(call, "axis"),
        selection=call.params.get("slice"),
        ddof=(_numbers(call, "ddof", 1) or (0.0,))[0],
        keepdims=call.flag("keepdims", default=False),
    )
    return _reply(call, node, request)


def _reply(call: Call, node: Node, request: ReduceArray | BinArray) -> Reply:
    source = ReducedRows(
        service=call.service,
        node=node,
        options=call.params,
        request=request,
        reduction=call.service.reductions.plan(node, request),
        is_over=call.body.abandoned,
    )
    return exported(call, source)


def _histogram(call: Call, node: Node) -> Reply:
    numbers = _numbers(call, "histogram") or ()
    count = _integers(call, "histogram") if len(numbers) == 1 else None
    limits = _numbers(call, "range", 2)
    request = HistogramArray(
        path=node.path,
        bins=numbers if count is None else count[0],
        range=None if limits is None else (limits[0], limits[1]),
        selection=call.params.get("slice"),
    )
    call.service.reductions.check_histogram(node, request)
    source = HistogramRows(
        service=call.service,
        node=node,
        options=call.params,
        request=request,
        is_over=call.body.abandoned,
    )
    return exported(call, source, chosen(exporters_of("table"), call.params, call.headers))


def _check_together(call: Call) -> None:
    for name, others in _BROKEN_BY.items():
        for other in others:
            if call.params.get(name) and call.params.get(other):
                raise _bad(f"{other}= means nothing beside {name}=; leave one of them out")
    if call.params.get("range") and not call.params.get("histogram"):
        raise _bad("range= is that of a histogram; add histogram=256, or leave it out")


def _statistic(call: Call) -> Statistic | None:
    text = call.params.get("do")
    found: Statistic | None = next((one for one in STATISTICS if one == text), None)
    if text and found is None:
        raise _bad(f"do={text[:40]!r}; there are {', '.join(STATISTICS)}")
    return found


def _integers(call: Call, name: str) -> tuple[int, ...] | None:
    """Return a parameter that is whole numbers with commas between; None where it is left out."""
    parts = _parts(call, name)
    if parts is None:
        return None
    if not all(_WHOLE.fullmatch(part) for part in parts):
        raise _bad(f"{name}={','.join(parts)[:40]!r}; write whole numbers with commas between")
    return tuple(map(int, parts))


def _numbers(call: Call, name: str, count: int | None = None) -> tuple[float, ...] | None:
    parts = _parts(call, name)
    if parts is None:
        return None
    try:
        numbers = tuple(map(float, parts))
    except ValueError:
        numbers = ()
    if not numbers or (count is not None and len(numbers) != count):
        wanted = "numbers with commas between" if count is None else f"{count} of them"
        raise _bad(f"{name}={','.join(parts)[:40]!r}; write numbers, {wanted}")
    return numbers


def _parts(call: Call, name: str) -> list[str] | None:
    text = call.params.get(name)
    if not text:
        return None
    parts = text.split(",")
    if len(parts) > MOST_NUMBERS:
        raise _bad(f"{name} of {len(parts)} numbers; at most {MOST_NUMBERS} can be in an address")
    return parts


def _bad(message: str) -> InvalidRequestError:
    return InvalidRequestError(ErrorKind.BAD_PARAMETER, message)


OPERATIONS = (
    Operation(
        method="GET",
        path="/array/reduce/{path:path}",
        work=reduce,
        scope="read:data",
        params=(
            Parameter(
                "do", "text", f"What becomes of elements taken together: {', '.join(STATISTICS)}."
            ),
            Parameter("axis", "text", "Axes of the slice that go: ``0`` or ``-2,-1``; else all."),
            Parameter("ddof", "number", "Of std and var: less than the count to divide by."),
            Parameter("keepdims", "flag", "Leave these axes in the answer, with length 1."),
            Parameter(
                "bin", "text", "Elements along each axis that become one: ``1,4,4``; do=mean."
            ),
            Parameter("histogram", "text", "Number of intervals, or their edges: ``0,10,100``."),
            Parameter("range", "text", "Where a histogram begins and ends: ``0,1000``."),
            SLICE,
            FORMAT,
            FILE_NAME,
            AS_OF,
        ),
        family=("array", "table"),
    ),
)
