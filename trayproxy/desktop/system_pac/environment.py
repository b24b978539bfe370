"""The proxy in environment variables, for desktops without a setting of their own.

The variables are those of curl(1) and most other programs: ``http_proxy``, ``https_proxy``,
``all_proxy`` and ``no_proxy``, also in capital letters.
"""

import re
from collections.abc import Mapping

from trayproxy.desktop.system_pac.base import SystemSetting, manual_setting, suffix_rules

TITLE = "environment variables"
"""The title of this setting."""


def environment_setting(
    environ: Mapping[str, str],
    http: str = "http_proxy",
    https: str = "https_proxy",
    no_proxy: str = "no_proxy",
) -> SystemSetting:
    """Return the proxy in environment variables.

    Args:
        environ: The variables.
        http: The name of the variable for http URLs.
        https: The name of the variable for https URLs.
        no_proxy: The name of the variable for the exceptions.
    """
    for_all = _value(environ, "all_proxy")
    entries = re.split(r"[,\s]+", _value(environ, no_proxy))
    return manual_setting(
        TITLE,
        _value(environ, http) or for_all,
        _value(environ, https) or for_all,
        suffix_rules(entries),
    )


def _value(environ: Mapping[str, str], name: str) -> str:
    return environ.get(name) or environ.get(name.upper()) or ""
