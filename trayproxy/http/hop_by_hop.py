"""What belongs to one connection only, and Via (RFC 9110, section 7.6)."""

from trayproxy.http.fields import Fields

# RFC 9110, section 7.6.1 names the first six. Proxy-Authorization and its answers are for the next
# proxy (sections 11.7.1 to 11.7.3), which for the client is us. Content-Length is end-to-end, but
# framing is always written anew.
_HOP_BY_HOP = frozenset(
    {
        b"connection",
        b"proxy-connection",
        b"keep-alive",
        b"te",
        b"transfer-encoding",
        b"upgrade",
        b"proxy-authorization",
        b"proxy-authenticate",
        b"proxy-authentication-info",
        b"content-length",
    }
)

# What would change framing, routing, authentication or the reading of the content when it comes
# late, so that a sender must not put it into trailers (RFC 9110, section 6.5.1), as far as known.
_NOT_IN_TRAILERS = _HOP_BY_HOP | {
    b"authorization",
    b"cache-control",
    b"content-encoding",
    b"content-range",
    b"content-type",
    b"cookie",
    b"expect",
    b"host",
    b"location",
    b"max-forwards",
    b"range",
    b"set-cookie",
    b"trailer",
    b"via",
    b"www-authenticate",
}

# A prior-knowledge upgrade to HTTP/2 would make a tunnel of requests that nobody checks, and its
# HTTP2-Settings is hop-by-hop. RFC 9113, section 3.1 has done away with it.
_NOT_UPGRADED_TO = frozenset({b"h2c"})


def end_to_end(
    fields: Fields, excluded: frozenset[bytes] = frozenset()
) -> list[tuple[bytes, bytes]]:
    """Return the lines to be forwarded: neither hop-by-hop nor named by Connection.

    Args:
        fields: As received.
        excluded: More names to leave out, in lower case; they are written anew elsewhere.
    """
    left_out = _HOP_BY_HOP.union(excluded, fields.tokens(b"connection"))
    return [line for line in fields if line[0].lower() not in left_out]


def forwarded_trailers(trailers: Fields) -> Fields:
    """Return the trailers that may be passed on, as trailers; the others are dropped (R-047)."""
    return trailers.without(_NOT_IN_TRAILERS)


def connection_options(fields: Fields) -> frozenset[bytes]:
    """Return the options of Connection, in lower case, and of Proxy-Connection.

    Proxies before RFC 7230 say ``close`` and ``keep-alive`` in the latter.
    """
    return frozenset(fields.tokens(b"connection") + fields.tokens(b"proxy-connection"))


def upgrade_protocols(fields: Fields, minor: int) -> tuple[bytes, ...]:
    """Return the protocols of Upgrade, if Connection says that they are meant (section 7.8).

    Args:
        fields: As received.
        minor: Of the version received; a 1.0 Upgrade is ignored.
    """
    if minor < 1 or b"upgrade" not in fields.tokens(b"connection"):
        return ()
    return tuple(p for p in fields.elements(b"upgrade") if p.lower() not in _NOT_UPGRADED_TO)


def is_loop(fields: Fields, pseudonym: bytes) -> bool:
    """Tell whether Via names us: the message is in a loop (section 7.6.3).

    Args:
        fields: As received.
        pseudonym: Ours, in Via.
    """
    elements = (element.split() for element in fields.tokens(b"via"))
    return any(len(words) > 1 and words[1] == pseudonym.lower() for words in elements)


def via_line(minor: int, pseudonym: bytes) -> tuple[bytes, bytes]:
    """Return the line that says that we have passed this message on.

    Args:
        minor: Of the version in which we received it.
        pseudonym: Ours, a token.
    """
    return b"Via", b"1.%d %b" % (minor, pseudonym)
