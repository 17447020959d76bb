"""How a text file holds a table: its encoding, separators, comments and header."""

from __future__ import annotations

import csv
import dataclasses
import re
from collections import Counter
from itertools import islice
from typing import TYPE_CHECKING

from ingest.metadata import LONGEST_LIST, assignments

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

COMMENTS = ("#", "%", "!", "//")
_SEPARATORS = (",", ";", "\t", "|")
_NUMBER = re.compile(r"[-+]?(\d+([.]\d*)?|[.]\d+)([eE][-+]?\d+)?$|[-+]?(nan|inf|infinity)$", re.I)
_COMMA_NUMBER = re.compile(r"[-+]?(\d+(,\d*)?|,\d+)([eE][-+]?\d+)?$")
_OTHERS = ("<", "{", "#F ", "#S ", "\x7fELF")
_CONTROL = re.compile(r"[\x00-\x08\x0e-\x1f]")
_DOTTED = re.compile(r"[A-Za-z]\w*(\.\w+)+")
_TABLE_SUFFIXES = (".csv", ".tsv", ".tab")
_MOST_ROWS = 200  # tell enough


@dataclasses.dataclass(frozen=True)
class Dialect:
    """What has to be known to read the table."""

    encoding: str
    separator: str | None
    """None for any run of blanks and tabs."""
    names: tuple[str, ...]
    skip_lines: int
    """Lines before the first row, comments and header included."""
    decimal_comma: bool
    metadata: dict[str, Any]


def dialect_of(head: bytes, suffix: str, *, is_whole: bool) -> Dialect | None:
    """Return how the table is written, from the first bytes; None if there is no table.

    Parameters
    ----------
    is_whole
        The head is the whole file; otherwise its last line may be cut.
    """
    decoded = _decode(head)
    if decoded is None:
        return None
    text, encoding = decoded
    if _CONTROL.search(text) or text.lstrip("\ufeff \r\n\t").startswith(_OTHERS):
        return None
    lines = text.lstrip("\ufeff").splitlines()
    if not is_whole and len(lines) > 1:
        lines = lines[:-1]
    content = (
        (number, line)
        for number, line in enumerate(lines)
        if line.strip() and not line.lstrip().startswith(COMMENTS)
    )
    rows = list(islice(content, _MOST_ROWS))
    best: tuple[int, _Block] | None = None
    for separator in (*_SEPARATORS, None):
        block = _block(rows, separator, suffix in _TABLE_SUFFIXES)
        if block is not None and (best is None or len(block.rows) > best[0]):
            best = len(block.rows), block
    if best is None:
        return None
    return _dialect(best[1], lines, encoding)


@dataclasses.dataclass(frozen=True)
class _Block:
    """Lines at the end of the head that have one number of fields."""

    separator: str | None
    first_line: int
    width: int
    rows: list[list[str]]
    header: list[str] | None
    decimal_comma: bool


def _block(rows: Sequence[tuple[int, str]], separator: str | None, any_text: bool) -> _Block | None:
    """Return the block that this separator makes; None if it is no table."""
    split = [(number, fields_of(line, separator)) for number, line in rows]
    if not split:
        return None
    width = len(split[-1][1])
    if separator is not None and width < 2:
        return None
    start = len(split)
    while start > 0 and len(split[start - 1][1]) == width:
        start -= 1
    block = split[start:]
    above = [fields for _, fields in split[:start]]
    for comma in (False, True) if separator != "," else (False,):
        if any(_is_numeric(fields, comma) for fields in above):
            continue  # rows of several widths are no table
        numeric = [_is_numeric(fields, comma) for _, fields in block]
        first = next((index for index, found in enumerate(numeric) if found), None)
        if first is None or not all(numeric[first:]):
            continue
        titles = [fields for _, fields in block[:first]]
        if separator is not None and (len(titles) > 2 or _any_number(titles, comma)):
            continue
        header = _loose_header(split, start, width)
        if titles:
            header = titles[-1] if separator is None else titles[0]
        found = [fields for _, fields in block[first:]]
        return _Block(separator, block[first][0], width, found, header, comma)
    if separator is None or len(block) < 2 or start:
        return None
    columns = list(zip(*(fields for _, fields in block[1:]), strict=True))
    if not any_text and not any(
        all(_is_number(one, False) for one in column) for column in columns
    ):
        return None
    has_header = not any(_is_number(field, False) and field for field in block[0][1])
    body = block[1:] if has_header else block
    header = block[0][1] if has_header else None
    return _Block(separator, body[0][0], width, [fields for _, fields in body], header, False)


def _loose_header(
    split: Sequence[tuple[int, list[str]]], start: int, width: int
) -> list[str] | None:
    """Return the line above the block if its fields, empty ones left out, name the columns."""
    if not start:
        return None
    names = [field for field in split[start - 1][1] if field.strip()]
    return names if len(names) == width else None


def _dialect(block: _Block, lines: Sequence[str], encoding: str) -> Dialect:
    above = lines[: block.first_line]
    comments = [line.strip().lstrip("#%!/").strip() for line in above if line.strip()]
    header = block.header
    if header is None:
        header = _commented_header(above, block)
    if header is not None and comments:
        comments = comments[:-1]
    values = assignments(comments)
    others = [line for line in comments if line.strip("-=*_ ") and not assignments([line])]
    metadata = _nested(values)
    if others:
        metadata["comments"] = [line[:1000] for line in others[:LONGEST_LIST]]
    return Dialect(
        encoding=encoding,
        separator=block.separator,
        names=_names(header, block.width),
        skip_lines=block.first_line,
        decimal_comma=block.decimal_comma,
        metadata=metadata,
    )


def _commented_header(above: Sequence[str], block: _Block) -> list[str] | None:
    """Return the names in the last comment line, where there are as many as columns."""
    last = next((line for line in reversed(above) if line.strip()), "")
    if not last.lstrip().startswith(COMMENTS):
        return None
    text = last.strip().lstrip("#%!/").strip()
    for separator in (block.separator, ",", "\t", None):
        names = [name for name in fields_of(text, separator) if name]
        if len(names) == block.width and not any(_is_number(name, False) for name in names):
            return names
    return None


def fields_of(line: str, separator: str | None) -> list[str]:
    """Return the fields of a line, without blanks around them."""
    if separator is None:
        return line.split()
    try:
        fields = next(csv.reader([line], delimiter=separator, skipinitialspace=True), [])
    except csv.Error:
        fields = line.split(separator)
    return [field.strip() for field in fields]


def _is_number(field: str, comma: bool) -> bool:
    return not field or bool((_COMMA_NUMBER if comma else _NUMBER).match(field))


def _is_numeric(fields: Sequence[str], comma: bool) -> bool:
    return any(fields) and all(_is_number(field, comma) for field in fields)


def _any_number(rows: Sequence[Sequence[str]], comma: bool) -> bool:
    return any(field and _is_number(field, comma) for row in rows for field in row)


def _names(header: Sequence[str] | None, width: int) -> tuple[str, ...]:
    names: list[str] = []
    taken: Counter[str] = Counter()
    for number in range(width):
        name = (header[number].strip() if header else "") or f"column_{number}"
        taken[name] += 1
        names.append(name if taken[name] == 1 else f"{name}_{taken[name]}")
    return tuple(names)


def _nested(values: dict[str, Any]) -> dict[str, Any]:
    """Put ``Element.edge`` below ``Element``, as XDI means it."""
    nested: dict[str, Any] = {}
    for key, value in values.items():
        parts = key.split(".") if _DOTTED.fullmatch(key) else [key]
        place = nested
        for part in parts[:-1]:
            below = place.setdefault(part, {})
            if not isinstance(below, dict):
                break
            place = below
        else:
            place.setdefault(parts[-1], value)
            continue
        nested.setdefault(key, value)
    return nested


def is_all_comments(head: bytes) -> bool:
    """Tell whether these bytes are nothing but comment lines, so that a table may follow."""
    decoded = _decode(head)
    if decoded is None or _CONTROL.search(decoded[0]) or decoded[0].startswith(_OTHERS):
        return False
    lines = decoded[0].splitlines()[:-1]
    return len(lines) > 1 and all(
        not line.strip() or line.lstrip().startswith(COMMENTS) for line in lines
    )


def _decode(head: bytes) -> tuple[str, str] | None:
    if head.startswith((b"\xff\xfe", b"\xfe\xff")):
        return head[: len(head) & ~1].decode("utf-16", "ignore"), "utf-16"
    if b"\0" in head:
        return None
    for cut in range(4):  # the last character may be cut
        try:
            return head[: len(head) - cut].decode(), "utf-8"
        except UnicodeDecodeError:
            continue
    return head.decode("latin-1"), "latin-1"
