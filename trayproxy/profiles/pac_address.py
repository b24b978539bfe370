"""Reads the source of a PAC script from the text that a user types or pastes.

=============================  =================================================================
``http://pac.example/x.pac``   a URL, also with https; ``http://`` may be missing
``pac+http://pac.example/x``   the same, as some programs write it
``http://wpad``                the usual path of a WPAD server, ``http://wpad/wpad.dat``
``/etc/company.pac``           a file, also ``C:\\company.pac``, ``\\\\server\\share\\company.pac``
``file:///etc/company.pac``    the same as a URL (RFC 8089)
``data:,function …``           the script itself (RFC 2397)
``system``                     the source that the settings of the desktop name
``wpad``                       automatic detection
=============================  =================================================================
"""

import re
from pathlib import PurePosixPath, PureWindowsPath
from urllib.parse import quote, unquote

from trayproxy.profiles.pac_source import PacKind, PacSource
from trayproxy.profiles.profile import ProfileError
from trayproxy.profiles.validate import MAX_PATH_LENGTH, check_host, check_port

MAX_URL_LENGTH = 2048
"""The longest http or https URL, in characters."""
MAX_DATA_LENGTH = 1 << 16
"""The longest ``data:`` URL, in characters: it is a part of the settings file."""

_WORDS = {kind.value: kind for kind in (PacKind.SYSTEM, PacKind.WPAD)}
_PREFIX = re.compile("pac[+](?=[a-z]+:)", re.IGNORECASE)
_SCHEME = re.compile("([a-z][a-z0-9+.-]*):(?=//|[^0-9])", re.IGNORECASE)
"""A scheme, but no host with its port, ``proxy:8080``."""
_DRIVE = re.compile(r"[a-z]:[\\/]", re.IGNORECASE)
_URL = re.compile(
    r"(?:(?P<scheme>https?)://)?(?P<authority>[^/?#\\]*)(?P<path>/[^?#]*)?(?P<query>\?[^#]*)?(?:#.*)?",
    re.IGNORECASE,
)
_AUTHORITY = re.compile(r"(?:\[(?P<literal>[^\[\]]*)\]|(?P<host>[^:\[\]]*))(?::(?P<port>\d*))?")
_WPAD_PATH = "/wpad.dat"
_KEPT = "!$%&'()*+,-./:;=@_~"
"""The characters of a path and a query that stay as they are (RFC 3986, section 3.3)."""
_EXAMPLE = "such as http://pac.example/proxy.pac"


def looks_like_pac(text: str) -> bool:
    """Return whether a text in the field for a proxy is meant as the source of a PAC script.

    An address with a path, a query, or a host named ``wpad`` is one; ``proxy.example:8080`` and
    ``http://proxy.example:8080/`` are addresses of proxies.
    """
    text = text.strip()
    if text.lower() in _WORDS or _PREFIX.match(text) or _is_path(text):
        return True
    scheme = _SCHEME.match(text)
    if scheme and scheme[1].lower() not in ("http", "https"):
        return scheme[1].lower() in ("file", "data")
    found = _URL.fullmatch(text)
    if not found or any(map(str.isspace, text)):
        return False
    has_path = found["path"] not in (None, "/") or bool(found["query"])
    # wpad:8080 is a proxy: a server of scripts needs no port.
    is_wpad = _is_wpad(found["authority"]) and ":" not in found["authority"]
    return has_path or is_wpad or text.lower().endswith((".pac", ".dat"))


def parse_pac_source(text: str) -> PacSource:
    """Return the source of a PAC script.

    Raises:
        ProfileError: The text has another form, or contains a user name or password.
    """
    text = text.strip()
    if text.lower() in _WORDS:
        return PacSource(_WORDS[text.lower()])
    if not text or not text.isprintable():
        raise ProfileError(f"Write the address of the PAC script, {_EXAMPLE}.")
    text = _PREFIX.sub("", text, 1)
    if _is_path(text):
        return PacSource(PacKind.FILE, _checked_path(text))
    scheme = _SCHEME.match(text)
    match scheme[1].lower() if scheme else "http":
        case "file":
            return PacSource(PacKind.FILE, _checked_path(_path_of_url(text)))
        case "data":
            return PacSource(PacKind.DATA, _checked_data(text))
        case "http" | "https":
            return PacSource(PacKind.URL, _checked_url(text))
    raise ProfileError("TrayProxy loads PAC scripts by http or https, or from a file.")


def _is_path(text: str) -> bool:
    return text.startswith(("/", "\\\\", "~/")) or _DRIVE.match(text) is not None


def _is_wpad(authority: str) -> bool:
    return authority.lower().partition(".")[0].partition(":")[0] == PacKind.WPAD


def _checked_url(text: str) -> str:
    parts = _URL.fullmatch(text)
    if not parts or not parts["authority"]:
        raise ProfileError(f"Write the address of the PAC script, {_EXAMPLE}.")
    if "@" in parts["authority"]:
        raise ProfileError(
            "Leave the user name and the password out of the address. "
            "TrayProxy loads PAC scripts without signing in."
        )
    path, query = parts["path"] or "/", parts["query"] or ""
    if path == "/" and not query and _is_wpad(parts["authority"]):
        path = _WPAD_PATH
    if "/" not in text and not _is_wpad(parts["authority"]):
        raise ProfileError(f"Write the whole path of the file, or an address {_EXAMPLE}.")
    authority = _AUTHORITY.fullmatch(parts["authority"])
    if not authority:
        raise ProfileError("Put an IPv6 address in brackets, such as [::1]:3128.")
    scheme = (parts["scheme"] or "http").lower()
    host = check_host(authority["literal"] or authority["host"])
    host = f"[{host}]" if ":" in host else host
    port = f":{check_port(authority['port'])}" if authority["port"] else ""
    port = "" if port == {"http": ":80", "https": ":443"}[scheme] else port
    url = f"{scheme}://{host}{port}{quote(path, _KEPT)}{quote(query, _KEPT + '?')}"
    if len(url) > MAX_URL_LENGTH:
        raise ProfileError(f"The address is longer than {MAX_URL_LENGTH} characters.")
    return url


def _checked_path(path: str) -> str:
    if len(path) > MAX_PATH_LENGTH or not path.isprintable():
        raise ProfileError("Write the path of the file with the PAC script, or choose it.")
    # The service may run with another current directory than the program of the user.
    if not (PurePosixPath(path).is_absolute() or PureWindowsPath(path).is_absolute()):
        raise ProfileError("Write the full path of the file, from the root folder on.")
    return path


def _path_of_url(text: str) -> str:
    """Return the path of a ``file:`` URL (RFC 8089, also the forms of its appendix E)."""
    path = unquote(text.partition(":")[2].replace("\\", "/"), "utf-8", "surrogateescape")
    # file:///C:/company.pac, and C| as Netscape wrote it.
    if drive := re.match("/*([A-Za-z])[:|]/", path):
        return f"{drive[1]}:\\" + path[drive.end() :].replace("/", "\\")
    if path.startswith("//"):
        host, _, rest = path[2:].partition("/")
        is_here = host.lower() in ("", "localhost")
        path = f"/{rest}" if is_here else f"\\\\{host}\\{rest}".replace("/", "\\")
    return path


def _checked_data(text: str) -> str:
    if len(text) > MAX_DATA_LENGTH:
        raise ProfileError(
            f"The data: URL is longer than {MAX_DATA_LENGTH} characters. Save the script in a file."
        )
    if "," not in text:
        raise ProfileError("A data: URL has a comma before the script, such as data:,function …")
    return text
