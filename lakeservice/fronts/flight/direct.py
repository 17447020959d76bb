"""Direct delivery over Flight: who may ask, and the actions ``direct`` and ``plan``."""

from __future__ import annotations

import ipaddress
from typing import TYPE_CHECKING, Any, Literal
from urllib.parse import unquote

import msgspec

from schemas.direct import DirectAsk, Hello, PlanArray, PlanAsk, Unavailable

if TYPE_CHECKING:
    from lakeservice.access.principals import Principal
    from lakeservice.service import Service

DirectPolicy = Literal["auto", "never", "always"]
ACTIONS = {
    "direct": ("read:data", "may I read files by myself? A DirectAsk as MessagePack"),
    "plan": ("read:data", "which files hold the data of a node? A PlanAsk as MessagePack"),
}
"""Name of each action: the scope that it needs, and what it does."""
_ASK: msgspec.msgpack.Decoder[Any] = msgspec.msgpack.Decoder(DirectAsk)
_PLAN: msgspec.msgpack.Decoder[Any] = msgspec.msgpack.Decoder(PlanAsk)
_ENCODER = msgspec.msgpack.Encoder()


class DirectActions:
    """Answers the actions of direct delivery.

    Parameters
    ----------
    service
        The lake.
    policy
        Who may read files by themselves: ``auto`` is callers on this machine, of a
        server that listens to no other; ``always`` is whoever sees the lake's folder.
    host
        Where the server listens.
    """

    def __init__(self, service: Service, policy: DirectPolicy, host: str) -> None:
        self._service = service
        self._policy = policy
        self._near = is_loopback(host)

    def answer(self, name: str, body: bytes, principal: Principal, peer: str) -> list[bytes]:
        """Return the answer to an action, encoded.

        Parameters
        ----------
        peer
            Address of the caller, as gRPC tells it.

        Raises
        ------
        LakeError
            ``bad-ticket``, ``ticket-expired``: of a pass; else as the service raises it.
        """
        if not self._allows(peer):
            return [_ENCODER.encode(Unavailable("this server gives no files to this caller"))]
        handler = self._direct if name == "direct" else self._plan
        return [_ENCODER.encode(handler(body, principal))]

    def _allows(self, peer: str) -> bool:
        if self._policy == "auto":
            return self._near and is_loopback(host_of_peer(peer))
        return self._policy == "always"

    def _direct(self, body: bytes, principal: Principal) -> Any:
        ask = _ASK.decode(body)
        if isinstance(ask, Hello):
            return self._service.direct.offer(principal.name)
        return self._service.direct.grant(ask, principal.name)

    def _plan(self, body: bytes, principal: Principal) -> Any:
        ask = _PLAN.decode(body)
        self._service.direct.admit(ask.grant, principal.name)
        node = self._service.describe(ask.path, as_of=ask.as_of)
        if isinstance(ask, PlanArray):
            return self._service.direct.plan(ask, node)
        where = None if ask.where is None else self._service.query(ask.where)
        return self._service.direct.plan_table(ask, node, where)


def host_of_peer(peer: str) -> str:
    """Return the host in an address as gRPC writes it: ``ipv4:127.0.0.1:5``, ``ipv6:%5B::1%5D:5``.

    Empty for an address of another kind.
    """
    kind, _, rest = unquote(peer).partition(":")
    host = rest.rpartition(":")[0]
    return host.strip("[]").partition("%")[0] if kind in ("ipv4", "ipv6") else ""


def is_loopback(host: str) -> bool:
    """Tell whether an address, or the name ``localhost``, is this machine's own."""
    if host == "localhost":
        return True
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return False
    mapped = getattr(address, "ipv4_mapped", None)
    return (mapped or address).is_loopback
