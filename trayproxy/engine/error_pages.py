"""The responses that TrayProxy generates itself.

None of them is a 407 for a program on this computer, because every program would then prompt for a
login itself (ux §5.3); a device that needs the password of TrayProxy gets one. A page has no
external resources and contains no field of the request; all inserted text is escaped. The reason is
also in ``Proxy-Status`` (RFC 9209), for scripts, and in the reason phrase, because most CONNECT
clients show only the reason phrase.
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
"""Characters to escape in HTML. The ampersand is first, because the entities contain it."""


class RequestRefusedError(Exception):
    """The request is answered with an error page."""

    def __init__(self, page: "ErrorPage") -> None:
        super().__init__(page.title)
        self.page = page


@dataclass(frozen=True, slots=True)
class ErrorPage:
    """A response that TrayProxy generates itself.

    Attributes:
        title: The event, in one line.
        body: The reason and the user's next step. Plain text.
        error: The Proxy-Status error type (RFC 9209, section 2.3), empty if none fits.
        code: The problem code, ``TP-201``, shown in the footer; empty if the page has no code.
        retry_after: Value of Retry-After in seconds; None for a response without Retry-After.
        allow: Value of Allow, for a 405; empty otherwise.
        challenge: Value of Proxy-Authenticate, for a 407; empty otherwise.
        details: Text of the ``details`` parameter of Proxy-Status; if empty, the title is used.
    """

    status: int
    title: str
    body: str
    error: str = ""
    code: str = ""
    retry_after: int | None = None
    allow: str = ""
    details: str = ""
    challenge: str = ""


@dataclass(frozen=True, slots=True)
class Document:
    """A document that TrayProxy serves at its own address, such as its PAC file.

    Attributes:
        content_type: The value of Content-Type.
        content: The content.
    """

    content_type: str
    content: bytes


def write_document(document: Document, *, with_body: bool) -> bytes:
    """Return the octets of the response with a document; the connection is closed afterwards.

    Args:
        document: The document.
        with_body: False for a response to HEAD.
    """
    head = (
        "HTTP/1.1 200 OK\r\n"
        f"Content-Type: {document.content_type}\r\n"
        f"Content-Length: {len(document.content)}\r\n"
        "Cache-Control: no-cache\r\n"
        "X-Content-Type-Options: nosniff\r\n"
        "Connection: close\r\n\r\n"
    ).encode("ascii")
    return head + document.content if with_body else head


def write_page(
    page: ErrorPage, *, address: str, host: str, keep_alive: bool, with_body: bool
) -> bytes:
    """Return the octets of the response for an error page.

    Args:
        address: The address of TrayProxy, a loopback address for programs of this computer. The
            footer shows it, so that users do not mistake the page for a page of the site.
        host: The requested site, empty if it is not known.
        keep_alive: True if the client connection stays open after the response.
        with_body: False for a response to HEAD: the same head without content.
    """
    is_local = address.startswith(("127.", "[::1]"))
    place = f"on this computer ({address})" if is_local else f"at {address}"
    footer = f"This page comes from TrayProxy {place}"
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
    if page.challenge:
        lines.append(f"Proxy-Authenticate: {page.challenge}")
    if page.error:
        details = quotable(page.details or page.title)
        lines.append(f'Proxy-Status: TrayProxy; error={page.error}; details="{details}"')
    lines.append("Connection: " + ("keep-alive" if keep_alive else "close"))
    head = ("\r\n".join(lines) + "\r\n\r\n").encode("ascii", "replace")
    return head + body if with_body else head


def _escape(text: str) -> str:
    # The same as `html.escape`, whose module would load a table of 2,000 character names.
    for character, entity in _ENTITIES.items():
        text = text.replace(character, entity)
    return text


def quotable(text: str) -> str:
    """Return the text with every character replaced that a structured-field string cannot contain
    (RFC 9651, section 3.3.3)."""
    return "".join(char if " " <= char <= "~" and char not in '"\\' else "'" for char in text)


def reason_phrase(page: ErrorPage) -> str:
    """Return the reason phrase: the title and code of the page, or the phrase of RFC 9110."""
    if page.code:
        return quotable(f"{page.title} ({page.code})")
    try:
        return HTTPStatus(page.status).phrase
    except ValueError:
        return quotable(page.title)


def refused_request(status: int, reason: str) -> ErrorPage:
    """Return the page for a request that is not forwarded for a reason, the end of a sentence."""
    body = f"A program sent a request that TrayProxy does not pass on: {reason}."
    return ErrorPage(status, "The request was not passed on", body)


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


def blocked_by_rule(rule: str, profile: str) -> ErrorPage:
    """Return the page for a request that a routing rule of a profile blocks."""
    return ErrorPage(
        403,
        "A rule blocks this address",
        f"The rule “{rule}” of the profile “{profile}” blocks it. Change the rules of the profile "
        "to allow it.",
        "http_request_denied",
        "TP-505",
    )


def script_is_not_protected(profile: str, upstream: str, is_sso: bool = True) -> ErrorPage:
    """Return the page for an upstream that demands a login, and may be named by an attacker.

    Args:
        profile: The name of the profile.
        upstream: The URL of the upstream.
        is_sso: True for the own sign-in; False for a password that was typed for no proxy.
    """
    secret = "your own sign-in" if is_sso else "a password unasked"
    return ErrorPage(
        503,
        "The automatic configuration is not protected",
        f"“{profile}” got it without encryption, so anybody in the network could have named "
        f"{upstream}. TrayProxy does not send {secret} there. Use an https:// address for the "
        "configuration, or add the proxy to the proxies with a shared sign-in.",
        "proxy_configuration_error",
        "TP-506",
    )


MAX_FORWARDS_REACHED = ErrorPage(
    200,
    "TrayProxy",
    "The request must not be forwarded any further (Max-Forwards).",
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
"""The page for a request of another user's program. The title contains the remedy, because apt and
many other programs show only the title."""

DEVICE_NOT_ALLOWED = ErrorPage(
    403,
    "TrayProxy does not allow this device; devices adds others",
    "TrayProxy passes requests on with the sign-in of the user who started it, so it serves only "
    "the devices that this user has listed: trayproxy devices allow ADDRESS.",
    "http_request_denied",
    "TP-115",
)
"""The page for a request of another device that is not in the allow-list."""

PASSWORD_NEEDED = ErrorPage(
    407,
    "TrayProxy wants a password from this device",
    "The user of the computer with TrayProxy has set a password for other devices. It is not the "
    "password of the company's proxy. Any user name will do.",
    "http_request_denied",
    "TP-116",
    challenge='Basic realm="TrayProxy", charset="UTF-8"',
)
"""The page for a request of another device without the password of TrayProxy (RFC 7617)."""

NOT_FOR_OTHER_COMPUTERS = ErrorPage(
    403,
    "The services of this computer are not for other devices",
    "TrayProxy runs on another computer than this program, and the address leads to a service of "
    "that computer, which may trust every program there. Connect to the service itself, without "
    "TrayProxy.",
    "http_request_denied",
    "TP-117",
)
"""For a request of a container or another device that would lead to a service of this computer."""

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
"""Instead of `TOO_LARGE_TO_REPEAT` if the login is known to be accepted (R-074)."""


def invalid_response(error: MessageError) -> ErrorPage:
    """Return the page for a response of the next hop that is malformed or too large."""
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
    """Return the page for a URL with a scheme that only an HTTP proxy can fetch, if the route of
    the request has no HTTP proxy."""
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
    """Return the page for a proxy that demands a login although its profile, given by its name,
    has none configured."""
    return ErrorPage(
        502,
        f"The proxy of {profile} wants a sign-in",
        "The profile says that it needs none. Change its sign-in in TrayProxy.",
        "proxy_configuration_error",
        "TP-303",
    )


def not_found(host: str, *, through_upstream: bool) -> ErrorPage:
    """Return the page for a host name, that of an upstream proxy if `through_upstream`, that could
    not be resolved."""
    name = "The name of the proxy" if through_upstream else "The name"
    body = f"{name} could not be resolved.{_network_hint(through_upstream)}"
    return ErrorPage(502, f"{host} was not found", body, "dns_error", "TP-201")


def _network_hint(through_upstream: bool) -> str:
    return " You may be outside the company network or VPN." if through_upstream else ""


def refused_connection(host: str, port: int) -> ErrorPage:
    """Return the page for a refused TCP connection."""
    return ErrorPage(
        502,
        f"{host} refused the connection",
        f"Something answers at this address, but not on port {port}.",
        "connection_refused",
        "TP-202",
    )


def no_route(host: str, reason: str, *, through_upstream: bool) -> ErrorPage:
    """Return the page for a host that this computer has no network route to. The reason is the
    error text of the operating system, ``No route to host``."""
    body = f"This computer cannot connect to it: {reason}.{_network_hint(through_upstream)}"
    title = f"There is no route to {host}"
    return ErrorPage(502, title, body, "destination_ip_unroutable", "TP-208")


def no_response(host: str, seconds: float, *, through_upstream: bool) -> ErrorPage:
    """Return the page for a host that does not respond."""
    body = f"No answer within {seconds:.0f} seconds.{_network_hint(through_upstream)}"
    return ErrorPage(504, f"{host} does not answer", body, "connection_timeout", "TP-203")


def slow_site(site: str, seconds: float) -> ErrorPage:
    """Return the page for a site that does not respond although its upstream proxy does."""
    return ErrorPage(
        504,
        f"{site} does not answer",
        f"The proxy answers, but {site} had no answer for this request within {seconds:.0f} "
        "seconds. The site may be slow; try again later.",
        "http_response_timeout",
    )


def slow_site_or_proxy(site: str, proxy: str, seconds: float) -> ErrorPage:
    """Return the page for a request without a response, if either the site or the upstream proxy
    may be the cause: the proxy has sent no other response in the meantime."""
    return ErrorPage(
        504,
        f"No answer came from {site}",
        f"The proxy {proxy} took the request, and no answer came within {seconds:.0f} seconds. The "
        f"site {site} may be slow; if other sites do not answer either, it is the proxy.",
        "http_response_timeout",
    )


def untrusted(host: str, reason: str) -> ErrorPage:
    """Return the page for an upstream proxy with a certificate that is not trusted for a reason, a
    whole sentence."""
    return ErrorPage(
        502,
        f"The certificate of {host} is not trusted",
        f"{reason} TrayProxy has not sent your password. If the certificate is right, add the one "
        "of your company to the profile.",
        "tls_certificate_error",
        "TP-204",
    )


def no_secure_connection(host: str, reason: str) -> ErrorPage:
    """Return the page for an upstream proxy with which the TLS handshake failed for a reason, a
    whole sentence."""
    return ErrorPage(
        502,
        f"No secure connection to {host}",
        f"{reason} TrayProxy has not sent your password. Check the port in the profile.",
        "tls_protocol_error",
        "TP-204",
    )


def client_certificate(host: str, reason: str, *, is_refused: bool) -> ErrorPage:
    """Return the page for an upstream proxy and a client certificate that cannot be used, or that
    the upstream refuses, for a reason, a whole sentence."""
    if is_refused:
        return ErrorPage(
            502,
            f"{host} refuses the connection without another certificate",
            f"{reason} Enter your certificate in the profile, or ask your help desk for one.",
            "tls_alert_received",
            "TP-212",
        )
    return ErrorPage(
        502,
        f"Your certificate for {host} cannot be used",
        f"{reason} Nothing was sent to the proxy.",
        "tls_certificate_error",
        "TP-211",
    )


def not_socks(host: str) -> ErrorPage:
    """Return the page for an upstream that is configured as a SOCKS5 proxy and does not speak
    SOCKS5."""
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
"""Status code, text and Proxy-Status error for each SOCKS reply code (RFC 1928, section 6)."""


def socks_refused(host: str, code: int) -> ErrorPage:
    """Return the page for a target that a SOCKS proxy did not connect to, with its reply code."""
    status, event, error = _SOCKS_REPLIES.get(
        code, (502, "could not connect to this address", "destination_unavailable")
    )
    return ErrorPage(
        status,
        f"{host} cannot be reached",
        f"The SOCKS proxy {event}.",
        error,
        "TP-207",
        details=f"SOCKS reply {code}",
    )


def tunnel_refused(status: int) -> ErrorPage:
    """Return the page for a tunnel that the next hop refused with a status code, if the client
    speaks no HTTP and cannot get the response of the next hop itself."""
    if status == HTTPStatus.FORBIDDEN:
        return ErrorPage(
            502,
            "The proxy does not allow this address",
            "Your password is not the reason.",
            "http_request_denied",
            "TP-306",
        )
    is_unreachable = status in (404, 502, 503, 504)
    return ErrorPage(
        502,
        f"The proxy refused the tunnel with status {status}",
        "The upstream proxy did not connect to the address.",
        "destination_unavailable" if is_unreachable else "proxy_internal_error",
    )


CONNECTION_CLOSED = ErrorPage(
    502,
    "The proxy closed the connection",
    "The upstream proxy closed the connection before it answered. Try again.",
    "connection_terminated",
)
