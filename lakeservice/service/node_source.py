"""What is told of every node that is a source for exporters."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import msgspec

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from lakeservice.service.service import Service
    from schemas.entry import DataSource, Node, Spec
    from schemas.structures import StructureFamily


@dataclass(frozen=True, kw_only=True)
class NodeSource:
    """What every source tells of its node."""

    service: Service
    node: Node
    options: Mapping[str, str] = field(default_factory=dict)

    @property
    def identity(self) -> tuple[object, ...]:
        """What the bytes of this source depend on: the node's state, and what is asked of it."""
        return (self.node.id, self.node.revision, self.node.version)

    @property
    def name(self) -> str:
        """Last segment of the path."""
        return self.node.name

    @property
    def family(self) -> StructureFamily:
        """The structure family."""
        return self.node.family

    @property
    def metadata(self) -> Mapping[str, Any]:
        """The node's metadata."""
        return self.node.metadata

    @property
    def specs(self) -> Sequence[Spec]:
        """What the node promises."""
        return self.node.specs

    @property
    def data_sources(self) -> Sequence[DataSource]:
        """How the node's bytes lie, the addresses of its files as clients are told them."""
        assets = self.service.assets
        return [
            msgspec.structs.replace(
                source,
                assets=tuple(
                    msgspec.structs.replace(behind.asset, data_uri=assets.address(behind))
                    for behind in assets.of(source)
                ),
            )
            for source in self.node.data_sources
        ]

    @property
    def problem(self) -> str | None:
        """Why the data cannot be read; None where they can."""
        for source in self.node.data_sources:
            problem = source.properties.get("problem")
            if problem is not None:
                return str(problem)
        return None
