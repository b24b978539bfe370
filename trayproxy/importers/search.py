"""Search this computer for the settings of other programs."""

import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from trayproxy.desktop.system_name import SystemName
from trayproxy.file_replacement import NotAFileError, read_file
from trayproxy.importers import alpaca, cntlm, proxy_variables, proxydetox, px, system, winfoom
from trayproxy.importers.assignments import assignments
from trayproxy.importers.found import (
    SEARCHED,
    Found,
    Place,
    Source,
    UnreadableSourceError,
)
from trayproxy.importers.places import (
    netrc_file,
    proxydetox_folders,
    settings_files,
    shell_files,
)
from trayproxy.importers.recognition import from_address, from_command, recognise
from trayproxy.importers.service_definitions import (
    ServiceCommand,
    launchd_command,
    systemd_command,
)
from trayproxy.importers.source_text import MAX_SIZE, SourceText, decode
from trayproxy.recipes.targets import Computer


@dataclass(frozen=True, slots=True)
class Search:
    """The search for settings.

    Attributes:
        computer: The computer.
        commands: Returns the command lines of the running programs with the given names.
        desktop_proxy: Returns the proxy of the desktop.
    """

    computer: Computer
    commands: Callable[[Iterable[str]], Iterable[tuple[str, ...]]]
    desktop_proxy: Callable[[], system.DesktopProxy]

    def all(self) -> Found:
        """Return the settings of all programs; sources with errors are among the errors."""
        found = Found()
        for source in SEARCHED:
            found += self.one(source)
        return found

    def one(self, source: Source) -> Found:
        """Return the settings of a program; the result is empty if it has none here."""
        match source:
            case Source.ENVIRONMENT:
                places = self._places_of_variables()
                return proxy_variables.from_environment(self.computer.environ, places)
            case Source.SYSTEM:
                return system.from_desktop(self.desktop_proxy())
            case Source.ALPACA:
                variables = alpaca.from_variables(
                    self.computer.environ, self._places_of_variables()
                )
                return self._files(source) + self._running(source) + variables
            case Source.PX | Source.PROXYDETOX:
                return self._files(source) + self._running(source)
        return self._files(source)

    def file(self, text: str) -> Found:
        """Return the settings of a file of any format, or of the address of a proxy or a PAC file.

        Raises:
            UnreadableSourceError: The file cannot be read, or its format is not known.
        """
        if not os.path.lexists(text) and (address := from_address(text)) is not None:
            return address
        source = read_source(os.path.abspath(text))
        if source is None:
            raise UnreadableSourceError(Place(text), "there is no such file")
        return recognise(source, self._has_own_sign_in).without_keyring_entries()

    @property
    def _has_own_sign_in(self) -> bool:
        return self.computer.system is SystemName.WINDOWS

    def _files(self, source: Source) -> Found:
        """Return the settings of the first file of a program that exists; of Git, of all files."""
        found = Found()
        for path in settings_files(source, self.computer):
            try:
                text = read_source(path)
                if text is None:
                    continue
                found += self._parse(source, text)
            except UnreadableSourceError as error:
                found += Found(errors=(error,))
            if source is not Source.GIT:
                break
        return found

    def _parse(self, source: Source, text: SourceText) -> Found:
        has_own = self._has_own_sign_in
        environ = self.computer.environ
        match source:
            case Source.PX:
                return px.parse(text, environ, has_own_sign_in=has_own)
            case Source.CNTLM:
                return cntlm.parse(text)
            case Source.WINFOOM:
                return winfoom.parse_properties(text, has_own_sign_in=has_own)
            case Source.PROXYDETOX:
                return proxydetox.parse(text, self._default_pac(), self._netrc())
            case Source.ALPACA:
                is_plist = text.name.endswith(".plist")
                command = launchd_command(text) if is_plist else systemd_command(text)
                return from_command(command, text.place(), has_own)
            case Source.NPM:
                return proxy_variables.parse_npmrc(text, environ)
        return proxy_variables.parse_git_config(text)

    def _running(self, source: Source) -> Found:
        """Return the settings in the command lines of running programs."""
        found = Found()
        place = Place(f"the command line of {source}")
        for words in self.commands((source.value,)):
            if len(words) > 1:
                found += from_command(ServiceCommand(words), place, self._has_own_sign_in)
        return found

    def _default_pac(self) -> str:
        folders = proxydetox_folders(self.computer)
        paths = (str(Path(folder, "proxy.pac")) for folder in folders)
        return next(filter(self.computer.exists, paths), "")

    def _netrc(self) -> SourceText | None:
        try:
            return read_source(netrc_file(self.computer))
        except UnreadableSourceError:
            return None

    def _places_of_variables(self) -> dict[str, Place]:
        """Return the places in which users set environment variables. Files that cannot be read are
        left out, because the environment itself has the values."""
        places: dict[str, Place] = {}
        for path in shell_files(self.computer):
            try:
                source = read_source(path)
            except UnreadableSourceError:
                continue
            if source is not None:
                places |= {each.name: each.place for each in assignments(source)}
        return places


def read_source(path: str) -> SourceText | None:
    """Return the text of a file, None if there is no file.

    Raises:
        UnreadableSourceError: The file is no regular file, cannot be read, or see `decode`.
    """
    try:
        octets = read_file(Path(path), MAX_SIZE + 1)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except NotAFileError:
        raise UnreadableSourceError(Place(path), "it is not a file") from None
    except PermissionError:
        reason = "only an administrator may read it; ask for a copy, and import the copy"
        raise UnreadableSourceError(Place(path), reason) from None
    except (OSError, ValueError) as error:
        reason = f"it cannot be read: {getattr(error, 'strerror', None) or error}"
        raise UnreadableSourceError(Place(path), reason) from None
    return decode(path, octets)
