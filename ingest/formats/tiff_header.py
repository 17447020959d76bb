"""What the header of a TIFF file tells about the measurement, as metadata."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

import tifffile

from ingest.metadata import LONGEST_TEXT, assignments, json_object, word_value

if TYPE_CHECKING:
    from collections.abc import Mapping

_TAGS = (
    "DateTime",
    "Software",
    "Make",
    "Model",
    "Artist",
    "HostComputer",
    "DocumentName",
    "PageName",
    "ResolutionUnit",
)
_MOST_OME = 1 << 18
_PILATUS_LINE = re.compile(r"^#\s*(?P<line>\S.*)$")
_QUANTITY = re.compile(
    r"^(?P<key>[A-Za-z]\w*)\s*[=:]?\s+\(?(?P<value>[-+]?\d[\d.]*(?:[eE][-+]?\d+)?)\)?"
    r"(?:\s+(?P<unit>[A-Za-z%]+))?$"
)
_PAIR = re.compile(r"^(?P<key>[A-Za-z]\w*)\s+(?P<x>\S+)\s+(?P<unit>\w+)\s+x\s+(?P<y>\S+)\s+\w+$")
_SENSOR = re.compile(r"^(?P<material>\w+) sensor, thickness (?P<value>\S+) (?P<unit>\w+)$")


def tiff_metadata(file: tifffile.TiffFile) -> dict[str, Any]:
    """Return the metadata of a TIFF file: its tags, and what its writer put into the description.

    ImageJ's fields lie below ``imagej``, OME's below ``ome``, tifffile's own in
    the top level, and comment lines as Pilatus writes them as named values, with
    their unit in ``<name>@units``.
    """
    page = file.pages.first
    metadata: dict[str, Any] = {}
    for name in _TAGS:
        tag = page.tags.get(name)
        if tag is not None and str(tag.value).strip():
            metadata[name] = getattr(tag.value, "name", tag.value)
    metadata = json_object(metadata)
    description = page.description
    if file.is_imagej:
        metadata["imagej"] = _imagej(file.imagej_metadata or {})
    elif file.is_ome:
        metadata["ome"] = _ome(file.ome_metadata)
    elif file.is_shaped:
        metadata |= _shaped(description)
    elif description.lstrip().startswith("#"):
        metadata |= comment_values(description)
    elif description.strip():
        metadata["description"] = description[:LONGEST_TEXT].strip()
    return json_object(metadata)


def _imagej(fields: Mapping[str, Any]) -> dict[str, Any]:
    """ImageJ's fields; its ``Info`` text as values where it is short enough to be metadata."""
    kept = {key: value for key, value in fields.items() if key not in ("Info", "LUTs", "Overlays")}
    info = fields.get("Info")
    if isinstance(info, str) and len(info) <= 4 * LONGEST_TEXT:
        kept["Info"] = assignments(info.splitlines())
    return json_object(kept)


def _ome(text: str | None) -> dict[str, Any]:
    if not text or len(text) > _MOST_OME:
        return {}
    try:
        words = tifffile.xml2dict(text)
    except Exception:  # expat and tifffile raise what they like on damaged XML
        return {}
    root = words.get("OME", words)
    return json_object(root) if isinstance(root, dict) else {}


def _shaped(description: str) -> dict[str, Any]:
    try:
        fields = json.loads(description)
    except (ValueError, RecursionError):
        return {"description": description[:LONGEST_TEXT]}
    if not isinstance(fields, dict):
        return {}
    return json_object({key: fields[key] for key in fields if key not in ("shape", "axes")})


def comment_values(description: str) -> dict[str, Any]:
    """Return the values of comment lines such as ``# Exposure_time 0.095 s``."""
    values: dict[str, Any] = {}
    for raw in description.replace("\r", "\n").split("\n"):
        match = _PILATUS_LINE.match(raw.strip())
        if match is None:
            continue
        line = match["line"].strip()
        if sensor := _SENSOR.match(line):
            values["Sensor_material"] = sensor["material"]
            values["Sensor_thickness"] = word_value(sensor["value"])
            values["Sensor_thickness@units"] = sensor["unit"]
        elif pair := _PAIR.match(line):
            values[pair["key"]] = [word_value(pair["x"]), word_value(pair["y"])]
            values[f"{pair['key']}@units"] = pair["unit"]
        elif quantity := _QUANTITY.match(line):
            values[quantity["key"]] = word_value(quantity["value"])
            if quantity["unit"]:
                values[f"{quantity['key']}@units"] = quantity["unit"]
        else:
            values |= _plain(line)
    return json_object(values)


def _plain(line: str) -> dict[str, Any]:
    named = assignments([line])
    if named:
        return named
    key, _, rest = line.partition(" ")
    return {key: word_value(rest)} if rest.strip() and key[:1].isalpha() else {}
