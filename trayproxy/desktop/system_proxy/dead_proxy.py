"""Recognize proxies on this computer at which no program answers: they are not restored.

Such an address is the leftover of a program that has ended: programs could not connect through it
(Proxyman issue 1044).
"""

import errno
from urllib.parse import urlsplit

from trayproxy.desktop.system_proxy.base import ProxyKind, ProxyTarget, ProxyView
from trayproxy.system_settings.entries import Values
from trayproxy.system_settings.record import TargetRecord

PROBE_TIMEOUT_S = 1.0
"""Seconds to wait for a program on this computer to accept a connection."""


def loopback_endpoints(view: ProxyView) -> tuple[tuple[str, int], ...]:
    """Return the host and the port of each manual proxy on this computer.

    The address may name several proxies: ``127.0.0.1:7890, 127.0.0.1:7891``, or on Windows
    ``http=127.0.0.1:8888;https=127.0.0.1:8888``.
    """
    if view.kind is not ProxyKind.MANUAL:
        return ()
    parts = view.address.replace(";", ",").split(",")
    found = (_endpoint(part.rpartition("=")[2].strip()) for part in parts)
    return tuple(dict.fromkeys(endpoint for endpoint in found if endpoint is not None))


def is_dead(host: str, port: int) -> bool:
    """Return True if no program listens at an address of this computer."""
    import socket  # Here, because the watchdog waits without it, and must stay small.

    try:
        with socket.create_connection((host, port), PROBE_TIMEOUT_S):
            return False
    except ConnectionRefusedError:
        return True
    except OSError as error:
        # Not a local address any more, or no IPv6. Anything else is no proof.
        return error.errno in (errno.EADDRNOTAVAIL, errno.ENETUNREACH)


def without_dead_proxies(target: ProxyTarget, record: TargetRecord, values: Values) -> Values:
    """Return the values without the proxies at which no program answers.

    TrayProxy's own address, which may have been another program's before, counts as such a proxy.
    Nothing is removed if the user wants these proxies back.

    Args:
        target: The target.
        record: The changes of TrayProxy in the target.
        values: The values of the whole target that are about to be restored.
    """
    if record.restores_dead:
        return values
    written = {**values, **{key: found[-1] for key, found in record.written.items()}}
    changed = dict(values)
    for part in dict.fromkeys(unit.part for unit in record.units):
        units = [unit for unit in target.units if unit.part == part]
        keys = [key for unit in units for key in unit.keys]
        if not all(
            key in values for unit in record.units if unit.part == part for key in unit.keys
        ):
            continue
        own = endpoints_here(target.describe(written, part))
        found = loopback_endpoints(target.describe(values, part))
        if any(endpoint in own or is_dead(*endpoint) for endpoint in found):
            without = target.without_proxy(values)
            changed |= {key: without[key] for key in keys if key in without}
    return changed


def dead_address(target: ProxyTarget, record: TargetRecord, present: Values) -> str:
    """Return the address of the proxy that was not restored; empty if there is none."""
    withheld = record.only(record.withheld)
    for part in dict.fromkeys(unit.part for unit in withheld.units):
        if any(key not in present for key in withheld.keys):
            continue
        view = target.describe({**present, **withheld.original}, part)
        if view.kind is ProxyKind.MANUAL:
            return view.address
    return ""


def endpoints_here(view: ProxyView) -> tuple[tuple[str, int], ...]:
    """Return the host and the port of each manual proxy, or of the server of the PAC file.

    Only those on this computer are returned.
    """
    if view.kind is not ProxyKind.PAC:
        return loopback_endpoints(view)
    try:
        own = _endpoint(urlsplit(view.address).netloc)
    except ValueError:
        own = None
    return () if own is None else (own,)


def _endpoint(address: str) -> tuple[str, int] | None:
    host, _, port = address.rpartition(":")
    host = host.strip("[]")
    if not port.isascii() or not port.isdecimal() or not 0 < int(port) < 1 << 16:
        return None
    return (host, int(port)) if _is_loopback(host) else None


def _is_loopback(host: str) -> bool:
    from ipaddress import ip_address  # Here, as in `is_dead`.

    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host.lower() == "localhost"
