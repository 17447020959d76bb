"""Loaders for machine learning: batches of samples and labels, shuffled, shared, resumed."""

from __future__ import annotations

from lakeservice.client.loader.batch import Batch
from lakeservice.client.loader.choice import chosen
from lakeservice.client.loader.loader import Loader
from lakeservice.client.loader.options import Options
from lakeservice.client.loader.randomness import Randomness

__all__ = ["Batch", "Loader", "Options", "Randomness", "chosen"]
