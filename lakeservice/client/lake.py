"""A lake: the container at the root, and the connection to it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Self

from lakeservice.client import address as addresses
from lakeservice.client.connection import Connection
from lakeservice.client.container import Container
from lakeservice.client.remote import Remote

if TYPE_CHECKING:
    from types import TracebackType


class Lake(Container):
    """A lake on a server: the root container, and what concerns the lake as a whole."""

    @property
    def url(self) -> str:
        """The server's address."""
        return self._remote.connection.address.url

    @property
    def about(self) -> dict[str, Any]:
        """What the server says about itself."""
        return self._remote.about()

    @property
    def cache_bytes(self) -> int:
        """Most bytes of decoded chunks that small direct reads keep in memory; 0 keeps none."""
        return self._remote.connection.disk.cache_bytes

    @cache_bytes.setter
    def cache_bytes(self, size: int) -> None:
        self._remote.connection.disk.cache_bytes = size

    def as_of(self, version: int) -> Lake:
        """Return the lake as it was after the commit ``version``; it cannot be written to.

        Raises
        ------
        NotFoundError
            ``version-not-found``, when it is first looked at.
        """
        return Lake(Remote(self._remote.connection, version), "")

    def close(self) -> None:
        """Close the connections; a later use opens them again."""
        self._remote.connection.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        facts = " ".join(value for _, value in self._facts())
        past = "" if self._remote.as_of is None else f" as of version {self._remote.as_of}"
        return f"<Lake {self.url!r}{past} {facts}>"


def connect(url: str = "http://127.0.0.1:8000", api_key: str | None = None) -> Lake:
    """Connect to a lake.

    Parameters
    ----------
    url
        Address of the server, as in a browser; ``?api_key=…`` in it is used as the key.
    api_key
        Key that the server knows; None where it lets everybody read, or the address has it.

    Returns
    -------
    Lake
        The root of the tree: ``lake["run-7/eiger"]``, ``lake.search(…)``.

    Raises
    ------
    UnavailableError
        Nobody answers there.
    AccessError
        ``unauthenticated``: the server wants a key, or another one.
    """
    remote = Remote(Connection(addresses.find(url, api_key)))
    return Lake(remote, "", remote.describe(""))
