"""The environment variables that make programs use TrayProxy (ux §3.9)."""

NO_PROXY = "localhost,127.0.0.1,::1"
"""The hosts that programs reach without a proxy: those of this computer."""


def proxy_variables(address: str) -> dict[str, str]:
    """Return the variables for the local address ``127.0.0.1:3128``, with names in lower case."""
    url = f"http://{address}"
    return {"http_proxy": url, "https_proxy": url, "no_proxy": NO_PROXY}


def in_both_cases(variables: dict[str, str]) -> dict[str, str]:
    """Return the variables, followed by the same variables with names in upper case.

    Most programs read either case, a few only lower case.
    """
    return variables | {name.upper(): value for name, value in variables.items()}
