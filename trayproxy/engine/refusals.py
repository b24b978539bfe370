"""Which answers are refusals of the next hop that wants a login: a 407, and some a 401.

Tinyproxy asks with a 407 and answers a wrong password with a 401, to CONNECT as to all else. A 401
to CONNECT can only be the proxy's own: no site is connected yet. Any other may come from a site,
and its client has to get it. It is taken for the proxy's only if it bears all marks of the 407 that
came before it: the same Server, the same realm, and no Via, which a proxy adds to what it passes on
(RFC 9110, section 7.6.3).
"""

from trayproxy.desk.answer import Answer
from trayproxy.desk.space import Space
from trayproxy.http.challenges import Challenge, parse_challenges
from trayproxy.http.request import Request
from trayproxy.http.response import Response

_SPACES_KEPT = 64


def note_accepted(answer: Answer, request: Request) -> None:
    """Take note of the address that a login is right for, since this request was let through.

    There is none if the next hop sees more of it than an address: it may forbid another page there.
    """
    if request.method == b"CONNECT" and request.target.authority is not None:
        answer.standing.welcome(request.target.authority)


class Refusals:
    """Tells refusals; remembers what the last 407 of each upstream looked like."""

    def __init__(self) -> None:
        self._servers: dict[Space, bytes] = {}
        self._cut: set[Space] = set()

    def note_cut(self, space: Space | None) -> None:
        """Remember that an upload without a login was cut off: its 407 may have been lost."""
        if space is not None and len(self._cut) < _SPACES_KEPT:
            self._cut.add(space)

    def was_cut(self, space: Space | None) -> bool:
        """Return whether the last upload was cut off, and forget it: the next one asks first."""
        if space not in self._cut:
            return False
        self._cut.discard(space)
        return True

    def wanted_by(
        self, response: Response, method: bytes, space: Space | None, carried: Answer | None
    ) -> tuple[Challenge, ...] | None:
        """Return the challenges of a refusal, None if the response is none.

        Args:
            response: Of a next hop that is a proxy.
            method: Of the request.
            space: The upstream; None if no login may ever be sent there.
            carried: The login that the request carried, None if none.
        """
        if response.status == 407:
            if space is not None:
                self._remember(space, b", ".join(response.fields.get_all(b"server")))
            return parse_challenges(response.fields.get_all(b"proxy-authenticate"))
        if response.status != 401 or carried is None:
            return None
        challenges = parse_challenges(response.fields.get_all(b"www-authenticate"))
        is_own = method == b"CONNECT" or self._bears_the_marks(response, challenges, carried)
        return challenges if is_own else None

    def _remember(self, space: Space, server: bytes) -> None:
        if len(self._servers) >= _SPACES_KEPT:
            self._servers.clear()
        self._servers[space] = server

    def _bears_the_marks(
        self, response: Response, challenges: tuple[Challenge, ...], carried: Answer
    ) -> bool:
        server, asked = self._servers.get(carried.space), carried.challenge
        return (
            bool(server)
            and response.fields.get_all(b"server") == (server,)
            and b"via" not in response.fields
            and bool(asked.realm)
            and any((one.scheme, one.realm) == (asked.scheme, asked.realm) for one in challenges)
        )
