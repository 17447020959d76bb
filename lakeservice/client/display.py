"""How nodes look to a person: text for a terminal, HTML for a notebook."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from html import escape
from typing import Any

_MAX_KEYS = 200
_MAX_TEXT = 300
_UNITS = ("B", "kB", "MB", "GB", "TB", "PB")


def size_text(size_bytes: float) -> str:
    """Return a number of bytes as people say it: ``913.0 MB``."""
    for unit in _UNITS:
        if size_bytes < 1000 or unit == _UNITS[-1]:
            break
        size_bytes /= 1000
    return f"{size_bytes:.0f} {unit}" if unit == "B" else f"{size_bytes:.1f} {unit}"


def short_list(names: Iterable[str], more: int = 0) -> str:
    """Return names in quotes, and how many more there are."""
    text = ", ".join(repr(name) for name in names)
    return f"[{text}, … {more} more]" if more > 0 else f"[{text}]"


def html_card(
    kind: str, title: str, facts: Iterable[tuple[str, str]], metadata: Mapping[str, Any]
) -> str:
    """Return a node as a small table, its metadata folded away."""
    rows = "".join(
        f"<tr><th style='text-align:left'>{escape(name)}</th>"
        f"<td style='text-align:left'>{escape(value)}</td></tr>"
        for name, value in facts
        if value
    )
    return (
        f"<div><b>{escape(kind)}</b> <code>{escape(title)}</code><table>{rows}</table>"
        f"{_html_metadata(metadata)}</div>"
    )


def html_table(header: Iterable[str], rows: Iterable[Iterable[str]], note: str = "") -> str:
    """Return rows of text as an HTML table."""
    head = "".join(f"<th style='text-align:left'>{escape(cell)}</th>" for cell in header)
    body = "".join(
        "<tr>"
        + "".join(f"<td style='text-align:left'>{escape(cell)}</td>" for cell in row)
        + "</tr>"
        for row in rows
    )
    tail = f"<div>{escape(note)}</div>" if note else ""
    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>{tail}"


def _html_metadata(metadata: Mapping[str, Any]) -> str:
    if not metadata:
        return ""
    return (
        f"<details><summary>metadata ({len(metadata)} keys)</summary>"
        f"{_html_value(metadata)}</details>"
    )


def _html_value(value: Any) -> str:
    if isinstance(value, Mapping):
        items = "".join(
            f"<li>{escape(str(key))}: {_html_value(item)}</li>"
            for key, item in list(value.items())[:_MAX_KEYS]
        )
        more = f"<li>… {len(value) - _MAX_KEYS} more</li>" if len(value) > _MAX_KEYS else ""
        return f"<ul>{items}{more}</ul>"
    text = str(value)
    return escape(text if len(text) <= _MAX_TEXT else text[:_MAX_TEXT] + "…")
