"""Hop-by-hop fields, and Via (RFC 9110, section 7.6)."""

from trayproxy.http.fields import Fields

# RFC 9110, section 7.6.1 names the first six. Proxy-Authorization and the corresponding response
# fields are for the next proxy (sections 11.7.1 to 11.7.3); for the client, that is TrayProxy.
# Content-Length is end-to-end, but the framing fields are always written by TrayProxy.
_HOP_BY_HOP = frozenset(
    (
        b"connection proxy-connection keep-alive te transfer-encoding upgrade "
        b"proxy-authorization proxy-authenticate proxy-authentication-info content-length"
    ).split()
)

# Known fields for framing, routing, authentication or content, which a sender must not put into
# trailers (RFC 9110, section 6.5.1).
_NOT_IN_TRAILERS = _HOP_BY_HOP.union(
    (
        b"authorization cache-control content-encoding content-range content-type cookie expect "
        b"host location max-forwards range set-cookie trailer via www-authenticate"
    ).split()
)

# An upgrade to HTTP/2 would open a tunnel of unchecked requests, and its HTTP2-Settings field is
# hop-by-hop. RFC 9113, section 3.1 has made this upgrade obsolete.
_NOT_UPGRADED_TO = frozenset({b"h2c"})


def end_to_end(
    fields: Fields, excluded: frozenset[bytes] = frozenset()
) -> list[tuple[bytes, bytes]]:
    """Return the lines to forward: all except hop-by-hop fields and fields named by Connection.

    Fields written by the caller are `excluded` too; their names are in lower case.
    """
    left_out = _HOP_BY_HOP.union(excluded, fields.tokens(b"connection"))
    return [line for line in fields if line[0].lower() not in left_out]


def forwarded_trailers(trailers: Fields) -> Fields:
    """Return the trailers that may be forwarded as trailers; all others are dropped (R-047)."""
    return trailers.without(_NOT_IN_TRAILERS)


def connection_options(fields: Fields) -> frozenset[bytes]:
    """Return the options of Connection and Proxy-Connection, in lower case.

    Proxies older than RFC 7230 send ``close`` and ``keep-alive`` in Proxy-Connection.
    """
    return frozenset(fields.tokens(b"connection") + fields.tokens(b"proxy-connection"))


def upgrade_protocols(fields: Fields, minor: int) -> tuple[bytes, ...]:
    """Return the protocols of Upgrade if Connection has the upgrade option (section 7.8).

    Upgrade is ignored in HTTP/1.0, minor version 0.
    """
    if minor < 1 or b"upgrade" not in fields.tokens(b"connection"):
        return ()
    return tuple(p for p in fields.elements(b"upgrade") if p.lower() not in _NOT_UPGRADED_TO)


def is_loop(fields: Fields, pseudonym: bytes) -> bool:
    """Return whether Via contains this proxy's pseudonym, which means a loop (section 7.6.3)."""
    elements = (element.split() for element in fields.tokens(b"via"))
    return any(len(words) > 1 and words[1] == pseudonym.lower() for words in elements)


def via_line(minor: int, pseudonym: bytes) -> tuple[bytes, bytes]:
    """Return the Via line of this proxy for a message received with this minor version."""
    return b"Via", b"1.%d %b" % (minor, pseudonym)
