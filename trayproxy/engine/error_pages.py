"""The answers that are ours: never a 407, which would make every program ask for itself (ux §5.3).

A page has no external parts and no field of the request; what it shows is escaped. The reason is
also in ``Proxy-Status`` (RFC 9209), where scripts find it, and in the reason phrase, which is all
that a CONNECT client shows.
"""

from dataclasses import dataclass
from http import HTTPStatus

from trayproxy.http.errors import MessageError, TooLargeError

PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="color-scheme" content="light dark">
<meta name="viewport" content="width=device-width">
<title>{title}</title>
<style>body {{ font: 1rem/1.5 system-ui, sans-serif; max-width: 40rem; margin: 4rem auto; padding: 0
1rem }} footer {{ margin-top: 3rem; font-size: .85rem; opacity: .75 }}</style>
</head>
<body>
<h1>{title}</h1>
<p>{body}</p>
<footer>{footer}</footer>
</body>
</html>
"""
_ENTITIES = {"&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;", "'": "&#x27;"}
"""What must not stand in HTML as it is; the ampersand first, which the others contain."""


class RequestRefusedError(Exception):
    """The request ends here, with a page of ours."""

    def __init__(self, page: "ErrorPage") -> None:
        super().__init__(page.title)
        self.page = page


@dataclass(frozen=True, slots=True)
class ErrorPage:
    """An answer of ours.

    Attributes:
        status: The HTTP status code.
        title: What happened, one line.
        body: Why, and what to do. Plain text.
        error: The Proxy-Status error type (RFC 9209, section 2.3), empty if none fits.
        code: ``TP-201``, shown small so that it can be searched for; empty if there is none.
        retry_after: Seconds after which asking again makes sense, None if that cannot be told.
        allow: For 405: the methods that are allowed.
        details: For Proxy-Status, where the title is not what a script wants to know.
    """

    status: int
    title: str
    body: str
    error: str = ""
    code: str = ""
    retry_after: int | None = None
    allow: str = ""
    details: str = ""


def write_page(
    page: ErrorPage, *, address: str, host: str, keep_alive: bool, with_body: bool
) -> bytes:
    """Return the octets of an answer.

    Args:
        page: What to say.
        address: Our own address, so that nobody takes the page for the site's.
        host: The site that was asked for, empty if that is not known.
        keep_alive: Whether the connection goes on.
        with_body: False for HEAD: the same head, no body.
    """
    footer = f"This page comes from TrayProxy on this computer ({address})"
    footer += f", not from {host}." if host else "."
    if page.code:
        footer += f" {page.code}"
    body = PAGE.format(
        title=_escape(page.title), body=_escape(page.body), footer=_escape(footer)
    ).encode()
    lines = [
        f"HTTP/1.1 {page.status} {reason_phrase(page)}",
        "Content-Type: text/html; charset=utf-8",
        f"Content-Length: {len(body)}",
        "Cache-Control: no-store",
        "X-Content-Type-Options: nosniff",
    ]
    if page.retry_after is not None:
        lines.append(f"Retry-After: {page.retry_after}")
    if page.allow:
        lines.append(f"Allow: {page.allow}")
    if page.error:
        details = quotable(page.details or page.title)
        lines.append(f'Proxy-Status: TrayProxy; error={page.error}; details="{details}"')
    lines.append("Connection: " + ("keep-alive" if keep_alive else "close"))
    head = ("\r\n".join(lines) + "\r\n\r\n").encode("ascii", "replace")
    return head + body if with_body else head


def _escape(text: str) -> str:
    # As `html.escape` does it; its module loads the names of 2,000 characters as well.
    for character, entity in _ENTITIES.items():
        text = text.replace(character, entity)
    return text


def quotable(text: str) -> str:
    """Return the text as it may stand in a structured-field string (RFC 9651, section 3.3.3)."""
    return "".join(char if " " <= char <= "~" and char not in '"\\' else "'" for char in text)


def reason_phrase(page: ErrorPage) -> str:
    """Return what to say behind the status code: ours says more than the standard's."""
    if page.code:
        return quotable(f"{page.title} ({page.code})")
    try:
        return HTTPStatus(page.status).phrase
    except ValueError:
        return quotable(page.title)


BAD_REQUEST_BODY = "A program sent a request that TrayProxy does not pass on: {reason}."


def refused_request(status: int, reason: str) -> ErrorPage:
    """Return the answer to a request that is not passed on as it is."""
    return ErrorPage(
        status, "The request was not passed on", BAD_REQUEST_BODY.format(reason=reason)
    )


NOT_A_PROXY_REQUEST = ErrorPage(
    400,
    "This is a proxy",
    "TrayProxy passes requests on to your company's proxy. Configure this address as a "
    "program's HTTP proxy. It is not a web page.",
)

LOOP = ErrorPage(
    508,
    "Proxy loop detected",
    "A request came back to TrayProxy itself. The profile points to its own address, or a program "
    "uses TrayProxy to reach TrayProxy.",
    "proxy_loop_detected",
    "TP-702",
)

NO_PROFILE = ErrorPage(
    503,
    "No profile is in use",
    "Open TrayProxy from the tray and choose a profile. If there is none yet, add the address of "
    "your company's proxy.",
    "proxy_configuration_error",
    retry_after=5,
)

MAX_FORWARDS_REACHED = ErrorPage(
    200,
    "TrayProxy",
    "The request asked for the last stop on its way, and that is here.",
)

NOT_ALLOWED = ErrorPage(
    403,
    "TrayProxy serves only its own user; allow_users adds others",
    "TrayProxy passes requests on with the sign-in of the user who started it, so it serves no "
    "program of another user. The user who started TrayProxy can allow others: write "
    'allow_users = ["name"] below [listen] in the settings.',
    "http_request_denied",
    "TP-109",
)
"""For programs of other users, whatever they ask for: apt and many others show the title alone."""

BUSY = ErrorPage(
    503,
    "Too many connections",
    "TrayProxy has as many connections as it can take. Try again in a moment.",
    "connection_limit_reached",
    retry_after=5,
)

TOO_LARGE_TO_REPEAT = ErrorPage(
    503,
    "The upload is too large to sign in for",
    "The proxy asked for a sign-in in the middle of an upload that is too large to be kept, and "
    "TrayProxy could not sign in with a request of its own. Open any page with this program first, "
    "and then start the upload again.",
    "proxy_configuration_error",
    retry_after=1,
)
TOO_LARGE_BUT_SIGNED_IN = ErrorPage(
    503,
    "The upload has to be started again",
    "The proxy asked for a sign-in in the middle of an upload that is too large to be kept. "
    "TrayProxy has signed in with a request of its own meanwhile: start the upload again.",
    "proxy_configuration_error",
    retry_after=1,
)
"""In place of `TOO_LARGE_TO_REPEAT` once the login is known to be right (R-074)."""


def invalid_response(error: MessageError) -> ErrorPage:
    """Return the page for an answer of the next hop that is not passed on."""
    if isinstance(error, TooLargeError):
        return ErrorPage(
            502,
            "The answer is too large for TrayProxy",
            f"The answer to this request was not passed on: {error}.",
            "http_response_header_section_size",
        )
    return ErrorPage(
        502,
        "The proxy's answer cannot be understood",
        f"The upstream proxy sent something that is not a proper HTTP answer: {error}.",
        "http_protocol_error",
    )


NO_COMMON_METHOD = ErrorPage(
    503,
    "No common way to sign in",
    "The SOCKS proxy accepts neither a user name with a password nor a connection without.",
    "proxy_configuration_error",
    "TP-303",
)


SITE_WANTS_SIGN_IN = ErrorPage(
    502,
    "The site asked for a proxy sign-in",
    "It is not your proxy, so TrayProxy has sent it no password.",
    "http_protocol_error",
)


def needs_http_proxy(scheme: str, host: str) -> ErrorPage:
    """Return the page for a URL that only an HTTP proxy can fetch, where none is on the way.

    Args:
        scheme: Of the URL.
        host: Of the URL.
    """
    how = (
        "ask for a tunnel (CONNECT), as browsers do" if scheme == "https" else "do without a proxy"
    )
    return ErrorPage(
        501,
        f"{scheme}:// addresses need an HTTP proxy",
        f"A program asked its proxy to fetch an address that begins with {scheme}://. TrayProxy "
        f"leaves that to a proxy of the kind http:// or https://, and {host} is reached without "
        f"one. Choose a profile with such a proxy, take {host} out of the hosts that are reached "
        f"without it, or let the program {how}.",
        "proxy_configuration_error",
    )


def sign_in_not_set(profile: str) -> ErrorPage:
    """Return the page for a proxy that wants a sign-in though its profile says it does not."""
    return ErrorPage(
        502,
        f"The proxy of {profile} wants a sign-in",
        "The profile says that it needs none. Change its sign-in in TrayProxy.",
        "proxy_configuration_error",
        "TP-303",
    )


def not_found(host: str, *, through_upstream: bool) -> ErrorPage:
    """Return the page for a name that has no address."""
    hint = " You may be outside the company network or VPN." if through_upstream else ""
    what = "The name of the proxy" if through_upstream else "The name"
    return ErrorPage(
        502, f"{host} was not found", f"{what} could not be resolved.{hint}", "dns_error", "TP-201"
    )


def refused_connection(host: str, port: int) -> ErrorPage:
    """Return the page for an address where nothing listens."""
    return ErrorPage(
        502,
        f"{host} refused the connection",
        f"Something answers at this address, but not on port {port}.",
        "connection_refused",
        "TP-202",
    )


def no_route(host: str, reason: str, *, through_upstream: bool) -> ErrorPage:
    """Return the page for a host that this computer has no way to.

    Args:
        host: The host.
        reason: What the system says, ``No route to host``.
        through_upstream: Whether it is a proxy.
    """
    hint = " You may be outside the company network or VPN." if through_upstream else ""
    body = f"This computer cannot connect to it: {reason}.{hint}"
    title = f"There is no way to {host}"
    return ErrorPage(502, title, body, "destination_ip_unroutable", "TP-208")


def no_response(host: str, seconds: float, *, through_upstream: bool) -> ErrorPage:
    """Return the page for a host that does not answer."""
    hint = " You may be outside the company network or VPN." if through_upstream else ""
    body = f"No answer within {seconds:.0f} seconds.{hint}"
    return ErrorPage(504, f"{host} does not answer", body, "connection_timeout", "TP-203")


def slow_site(site: str, seconds: float) -> ErrorPage:
    """Return the page for a site that has not answered, though its proxy is alive."""
    return ErrorPage(
        504,
        f"{site} does not answer",
        f"The proxy answers, but {site} had no answer for this request within {seconds:.0f} "
        "seconds. The site may be slow; try again later.",
        "http_response_timeout",
    )


def slow_site_or_proxy(site: str, proxy: str, seconds: float) -> ErrorPage:
    """Return the page for a request that a proxy has taken and not answered.

    Args:
        site: Where the request was to go.
        proxy: The host of the proxy, of which nothing else was heard meanwhile.
        seconds: How long it took.
    """
    return ErrorPage(
        504,
        f"No answer came from {site}",
        f"The proxy {proxy} took the request, and no answer came within {seconds:.0f} seconds. The "
        f"site {site} may be slow; if other sites do not answer either, it is the proxy.",
        "http_response_timeout",
    )


def untrusted(host: str, reason: str) -> ErrorPage:
    """Return the page for a proxy whose certificate is not believed.

    Args:
        host: The proxy.
        reason: A sentence.
    """
    return ErrorPage(
        502,
        f"The certificate of {host} is not trusted",
        f"{reason} TrayProxy has not sent your password. If the certificate is right, add the one "
        "of your company to the profile.",
        "tls_certificate_error",
        "TP-204",
    )


def no_secure_connection(host: str, reason: str) -> ErrorPage:
    """Return the page for a proxy with which no encrypted connection came about.

    Args:
        host: The proxy.
        reason: A sentence.
    """
    return ErrorPage(
        502,
        f"No secure connection to {host}",
        f"{reason} TrayProxy has not sent your password. Check the port in the profile.",
        "tls_protocol_error",
        "TP-204",
    )


def not_socks(host: str) -> ErrorPage:
    """Return the page for a proxy that was said to speak SOCKS5, and does not."""
    return ErrorPage(
        502,
        f"{host} is not a SOCKS5 proxy",
        "Its answer is not that of a SOCKS5 proxy. Check the address in the profile.",
        "proxy_internal_error",
        "TP-205",
    )


_SOCKS_REPLIES = {
    2: (502, "does not allow this address", "destination_ip_prohibited"),
    3: (502, "cannot reach the network of this address", "destination_ip_unroutable"),
    4: (502, "cannot find or reach this address", "destination_unavailable"),
    5: (502, "was refused by this address", "connection_refused"),
    6: (504, "got no answer from this address", "connection_timeout"),
}
"""Status, what happened and the Proxy-Status error by reply code (RFC 1928, section 6)."""


def socks_refused(host: str, code: int) -> ErrorPage:
    """Return the page for a target that a SOCKS proxy did not connect to.

    Args:
        host: The target.
        code: The proxy's reply.
    """
    status, what, error = _SOCKS_REPLIES.get(
        code, (502, "could not connect to this address", "destination_unavailable")
    )
    return ErrorPage(
        status,
        f"{host} cannot be reached",
        f"The SOCKS proxy {what}.",
        error,
        "TP-207",
        details=f"SOCKS reply {code}",
    )


CONNECTION_CLOSED = ErrorPage(
    502,
    "The proxy closed the connection",
    "The upstream proxy closed the connection before it answered. Try again.",
    "connection_terminated",
)
