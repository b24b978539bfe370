"""``trayproxy env``: print shell commands that set or unset the proxy variables (ux §3.9)."""

import sys
from collections.abc import Callable, Mapping, Sequence
from shlex import quote
from types import MappingProxyType

from trayproxy.cli.local_address import present_address
from trayproxy.cli.output import print_line, print_message
from trayproxy.cli.proxy_variables import company_variables, in_both_cases, proxy_variables
from trayproxy.cli.verb_parser import Arguments, VerbParser
from trayproxy.desktop.company_ca import own_ca_variables
from trayproxy.desktop.shell import guess_shell
from trayproxy.paths import Paths

NO_VARIABLES: Mapping[str, str] = MappingProxyType({})

_NAMES = ("http_proxy", "https_proxy", "no_proxy")

_USAGE = {
    "fish": "trayproxy env | source",
    "powershell": "trayproxy env | Out-String | Invoke-Expression",
}


def declare_env(parser: VerbParser) -> None:
    """Declare ``trayproxy env``."""
    parser.set_defaults(verb=_env)
    parser.add_argument(
        "--shell",
        choices=["bash", "zsh", "fish", "nu", "powershell", "cmd"],
        help="default: the calling shell",
    )
    parser.add_argument("--unset", action="store_true", help="print the commands that unset them")


def _env(paths: Paths, arguments: Arguments) -> None:
    """Print the commands for a shell; without a shell name, detect the calling shell.

    Raises:
        CommandError: Another program uses the local address, or the address is unknown until the
            service runs. Nothing was printed.
    """
    shell, unset = arguments.shell or guess_shell(), arguments.unset
    if unset:
        print_line(unset_commands(shell, own_ca_variables(paths)))
    else:
        print_line(set_commands(shell, present_address(paths), company_variables(paths)))
    if sys.stdout.isatty() and shell not in ("cmd", "nu"):
        option = " --unset" if unset else ""
        use = _USAGE.get(shell, 'eval "$(trayproxy env)"')
        print_message(f"# To use this: {use.replace('trayproxy env', 'trayproxy env' + option)}")


def set_commands(shell: str, address: str, more: Mapping[str, str] = NO_VARIABLES) -> str:
    """Return the commands that make programs of a shell use TrayProxy at ``127.0.0.1:3128``.

    Args:
        shell: One of `trayproxy.desktop.shell.SHELLS`.
        address: The local address.
        more: Further variables, see `company_variables`.
    """
    variables = in_both_cases(proxy_variables(address)) | dict(more)
    match shell:
        case "fish":
            return _lines("set -gx {} {}", variables, quote)
        case "nu":
            return f"load-env {{{_lines('{}: {}', variables, _quote_nushell, ', ')}}}"
        case "powershell":
            return _lines("$env:{} = {}", variables, _quote_powershell)
        case "cmd":  # Windows ignores the case of names.
            names = {name.upper(): variables[name] for name in _NAMES}
            return _lines('set "{}={}"', names | dict(more), str)
    return "export " + " ".join(f"{name}={quote(value)}" for name, value in variables.items())


def unset_commands(shell: str, more: Sequence[str] = ()) -> str:
    """Return the commands that unset the variables of `set_commands`, `more` of them included."""
    names = (*_NAMES, *map(str.upper, _NAMES), *more)
    match shell:
        case "fish":
            return "set -e " + " ".join(names)
        case "nu":
            return "hide-env -i " + " ".join(names)
        case "powershell":
            return f"Remove-Item {','.join(f'Env:{name}' for name in names)} -ErrorAction Ignore"
        case "cmd":
            return "\n".join(f'set "{name.upper()}="' for name in (*_NAMES, *more))
    return "unset " + " ".join(names)


def _lines(
    template: str, values: Mapping[str, str], quoted: Callable[[str], str], separator: str = "\n"
) -> str:
    lines = (template.format(name, quoted(value)) for name, value in values.items())
    return separator.join(lines)


def _quote_powershell(text: str) -> str:
    # Only the quotation mark is special.
    return "'" + text.replace("'", "''") + "'"


def _quote_nushell(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'
