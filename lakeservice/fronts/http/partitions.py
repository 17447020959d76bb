"""Partitions of tables, as clients of HTTP are told of them.

Tiled's clients keep the number of partitions that they were told first, and expect the
rows that are appended later in these; so the link to a partition carries, as ``of``, the
number that its client was told, and the last partition has all the rest.
"""

from __future__ import annotations

from lakeservice.service.partitions import parts_of, stored_parts, told_partitions

__all__ = ["parts_of", "stored_parts", "told_partitions"]
