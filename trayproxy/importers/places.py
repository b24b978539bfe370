"""The paths at which programs look for their settings, by operating system."""

from collections.abc import Iterator
from pathlib import PurePosixPath, PureWindowsPath

from trayproxy.desktop.system_name import SystemName
from trayproxy.importers.found import Source
from trayproxy.recipes.targets import Computer

_SHELL_FILES = (
    *(".bash_profile", ".bash_login", ".profile", ".bashrc", ".zshenv", ".zprofile", ".zshrc"),
    *(".config/fish/config.fish", ".config/environment.d/60-proxy.conf", ".pam_environment"),
)


def settings_files(source: Source, computer: Computer) -> list[str]:
    """Return the paths of a program's settings files, in the order in which it looks for them.

    Args:
        source: The program.
        computer: The computer.
    """
    return list(dict.fromkeys(_files(source, computer)))


def _files(source: Source, computer: Computer) -> Iterator[str]:
    environ = computer.environ
    match source:
        case Source.PX:
            if path := environ.get("PX_CONFIG"):
                yield path
            yield _join(computer, _config_folder(computer), "px", "px.ini")
            if computer.system is SystemName.WINDOWS:
                yield _join(computer, computer.home, "scoop", "apps", "px", "current", "px.ini")
        case Source.CNTLM:
            yield from _cntlm(computer)
        case Source.WINFOOM:
            for folder in _winfoom_folders(computer):
                yield _join(computer, folder, "config", "proxy.properties")
        case Source.PROXYDETOX:
            for folder in proxydetox_folders(computer):
                yield _join(computer, folder, "proxydetoxrc")
        case Source.ALPACA:
            units = ".config/systemd/user/alpaca.service"
            yield _join(computer, computer.home, *units.split("/"))
            agents = _join(computer, computer.home, "Library", "LaunchAgents")
            for name in ("homebrew.mxcl.alpaca.plist", "com.samuong.alpaca.plist"):
                yield _join(computer, agents, name)
        case Source.NPM:
            named = environ.get("NPM_CONFIG_USERCONFIG") or environ.get("npm_config_userconfig")
            yield named or _join(computer, computer.home, ".npmrc")
        case Source.GIT:
            yield from _git(computer)


def shell_files(computer: Computer) -> list[str]:
    """Return the paths of the files in which users set environment variables."""
    if computer.system is SystemName.WINDOWS:
        return []
    own = [_join(computer, computer.home, *name.split("/")) for name in _SHELL_FILES]
    return [*own, "/etc/environment"]


def netrc_file(computer: Computer) -> str:
    """Return the path of the user's ``.netrc``."""
    return _join(computer, computer.home, ".netrc")


def proxydetox_folders(computer: Computer) -> list[str]:
    """Return the folders of Proxydetox's files, in the order in which it searches them."""
    user = _join(computer, _config_folder(computer), "proxydetox")
    if computer.system is SystemName.WINDOWS:
        return [user, _config_folder(computer)]
    return [user, "/etc/proxydetox", "/usr/local/etc/proxydetox", "/opt/proxydetox/etc"]


def _cntlm(computer: Computer) -> Iterator[str]:
    if computer.system is SystemName.WINDOWS:
        for name in ("ProgramFiles(x86)", "ProgramFiles"):
            if folder := computer.environ.get(name):
                yield _join(computer, folder, "Cntlm", "cntlm.ini")
        return
    yield _join(computer, computer.home, ".cntlm.conf")
    yield _join(computer, _config_folder(computer), "cntlm.conf")
    if computer.system is SystemName.MACOS:
        yield from ("/opt/homebrew/etc/cntlm.conf", "/usr/local/etc/cntlm.conf")
    yield "/etc/cntlm.conf"


def _winfoom_folders(computer: Computer) -> Iterator[str]:
    for name in ("winfoom", "Winfoom", ".winfoom"):
        yield _join(computer, computer.home, name)
    if computer.system is SystemName.WINDOWS:
        if folder := computer.environ.get("ProgramFiles"):
            yield _join(computer, folder, "winfoom")
    else:
        yield "/opt/winfoom"


def _git(computer: Computer) -> Iterator[str]:
    environ = computer.environ
    if path := environ.get("GIT_CONFIG_GLOBAL"):
        yield path
        return
    yield _join(computer, computer.home, ".gitconfig")
    xdg = environ.get("XDG_CONFIG_HOME") or _join(computer, computer.home, ".config")
    yield _join(computer, xdg, "git", "config")
    if computer.system is not SystemName.WINDOWS:
        yield "/etc/gitconfig"


def _config_folder(computer: Computer) -> str:
    match computer.system:
        case SystemName.WINDOWS:
            default = _join(computer, computer.home, "AppData", "Roaming")
            return computer.environ.get("APPDATA") or default
        case SystemName.MACOS:
            return _join(computer, computer.home, "Library", "Application Support")
    folder = computer.environ.get("XDG_CONFIG_HOME", "")
    # Relative paths are invalid (XDG Base Directory Specification).
    is_absolute = PurePosixPath(folder).is_absolute()
    return folder if is_absolute else _join(computer, computer.home, ".config")


def _join(computer: Computer, *parts: str) -> str:
    is_windows = computer.system is SystemName.WINDOWS
    return str(PureWindowsPath(*parts) if is_windows else PurePosixPath(*parts))
