"""The environment variables that make programs use TrayProxy (ux §3.9)."""

import re
from collections.abc import Mapping

from trayproxy.cli.output import print_message, printable_line
from trayproxy.desktop.company_ca import ca_variables
from trayproxy.paths import Paths
from trayproxy.system_settings.entries import TargetError

NO_PROXY = "localhost,127.0.0.1,::1"
"""The hosts that programs reach without a proxy: those of this computer."""


def proxy_variables(address: str) -> dict[str, str]:
    """Return the variables for the local address ``127.0.0.1:3128``, with names in lower case."""
    url = f"http://{address}"
    return {"http_proxy": url, "https_proxy": url, "no_proxy": NO_PROXY}


def excluded_hosts(environ: Mapping[str, str]) -> str:
    """Return ``no_proxy`` with the hosts that the environment already excludes from its proxy.

    The company may have set the variable: programs reach its own hosts without a proxy. The entry
    ``*`` is left out, because it excludes all hosts from TrayProxy as well.

    Args:
        environ: The environment of this process.
    """
    texts = (NO_PROXY, environ.get("no_proxy", ""), environ.get("NO_PROXY", ""))
    entries = (entry for text in texts for entry in re.split(r"[,\s]+", text))
    return ",".join(dict.fromkeys(entry for entry in entries if entry not in ("", "*")))


def in_both_cases(variables: dict[str, str]) -> dict[str, str]:
    """Return the variables, followed by the same variables with names in upper case.

    Most programs read either case, a few only lower case.
    """
    return variables | {name.upper(): value for name, value in variables.items()}


def company_variables(paths: Paths) -> dict[str, str]:
    """Return the variables with which programs trust a proxy that inspects TLS.

    The result is empty if the tests of the profiles have seen no such proxy. If the certificates
    cannot be written, a message is printed, and programs use their own certificates.
    """
    try:
        return ca_variables(paths)
    except TargetError as error:
        report_no_certificates(error)
        return {}


def report_no_certificates(error: TargetError) -> None:
    """Print the reason for which programs get no file with the company's certificates."""
    text = printable_line(str(error))
    print_message(f"The company's certificate is not set for programs: {text}.")
