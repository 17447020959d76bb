"""Documents that routes answer, as types: what the API's documentation is made from."""

from __future__ import annotations

from typing import Any

import msgspec


class Refusal(msgspec.Struct):
    """Why a request was refused."""

    detail: Any
    """What was asked, what is there, what to do."""
    kind: str | None = None
    """Code of the error, which never changes; see docs/reference/errors.md."""


class SpecShape(msgspec.Struct):
    """A named promise about a node."""

    name: str
    version: str | None = None


class AttributesShape(msgspec.Struct):
    """What is told of a node; what was not asked for is null."""

    ancestors: list[str]
    structure_family: str | None = None
    specs: list[SpecShape] | None = None
    metadata: Any = None
    structure: dict[str, Any] | None = None
    access_tags: list[str] | None = None
    sorting: list[dict[str, Any]] | None = None
    data_sources: list[dict[str, Any]] | None = None


class ItemShape(msgspec.Struct):
    """One node."""

    id: str
    attributes: AttributesShape
    links: dict[str, Any] | None = None
    meta: dict[str, Any] | None = None


class NodeAnswer(msgspec.Struct):
    """A node in the envelope that all answers share."""

    data: ItemShape
    error: Any = None
    links: dict[str, Any] | None = None
    meta: dict[str, Any] | None = None


class ListingAnswer(msgspec.Struct):
    """A page of nodes; ``links.next`` is null at the end, ``meta.count`` is over all pages."""

    data: list[ItemShape]
    links: dict[str, Any]
    meta: dict[str, Any]
    error: Any = None


class DistinctAnswer(msgspec.Struct):
    """Values and, where asked, how many nodes have each."""

    metadata: dict[str, list[dict[str, Any]]] | None = None
    structure_families: list[dict[str, Any]] | None = None
    specs: list[dict[str, Any]] | None = None


class CreatedAnswer(msgspec.Struct):
    """A node that was created."""

    id: str
    """Its name, the last segment of its path."""
    links: dict[str, Any]
    data_sources: list[dict[str, Any]] | None = None
    access_tags: list[str] | None = None
    metadata: Any = None


class ChangedAnswer(msgspec.Struct):
    """The name of a node whose metadata was changed."""

    id: str


class AboutAnswer(msgspec.Struct):
    """What the server offers."""

    api_version: int
    library_version: str
    formats: dict[str, list[str]]
    aliases: dict[str, dict[str, list[str]]]
    queries: list[str]
    authentication: dict[str, Any]
    links: dict[str, Any]
    meta: dict[str, Any]
