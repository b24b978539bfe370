"""A fake of gsettings and dconf: a function that runs their commands on dictionaries."""

from collections.abc import Callable, Sequence

from trayproxy.desktop.commands import CommandResult
from trayproxy.desktop.system_proxy.gsettings import KEYS, PATH, SCHEMA

GSETTINGS = "/usr/bin/gsettings"
DCONF = "/usr/bin/dconf"
DATABASE = "user-db:user"

DEFAULTS = {
    "mode": "'none'",
    "autoconfig-url": "''",
    "ignore-hosts": "['localhost', '127.0.0.0/8', '::1']",
    "use-same-proxy": "true",
    "http host": "''",
    "http port": "8080",
    "http use-authentication": "false",
    "https host": "''",
    "https port": "0",
}
"""The defaults of gsettings-desktop-schemas 43."""

NO_SCHEMA = CommandResult(1, "", f"No such schema “{SCHEMA}”\n")


class FakeGSettings:
    """Settings in memory; a call runs a command.

    Attributes:
        user: The values of the user by key.
        site: The defaults of an administrator.
        locked: Keys that the administrator has locked.
        ignored: Keys whose changes the commands report as done and ignore, as gsettings does
            without a session bus.
        missing: Keys that the schema lacks.
        has_schema: False if the schema is not installed.
        before_write: Called before each change; may raise, as a crash would end the process.
        calls: All commands.
    """

    def __init__(self, user: dict[str, str] | None = None) -> None:
        self.user = dict(user or {})
        self.site: dict[str, str] = {}
        self.locked: set[str] = set()
        self.ignored: set[str] = set()
        self.missing: set[str] = set()
        self.has_schema = True
        self.before_write: Callable[[], None] = lambda: None
        self.calls: list[tuple[str, ...]] = []

    def __call__(self, argv: Sequence[str]) -> CommandResult:
        self.calls.append(tuple(argv))
        match tuple(argv):
            case "env", "GSETTINGS_BACKEND=memory", _, "list-recursively", schema:
                assert schema == SCHEMA
                return self._list(DEFAULTS)
            case path, "list-recursively", schema if path == GSETTINGS:
                assert schema == SCHEMA
                return self._list(DEFAULTS | self.site | self.user)
            case path, "writable", schema, name if path == GSETTINGS:
                key = _key(schema, name)
                return CommandResult(0, "false\n" if key in self.locked else "true\n")
            case path, "set", schema, name, value if path == GSETTINGS:
                key = _key(schema, name)
                if key.endswith("port") and not value.isdigit():
                    return CommandResult(1, "", f"can not parse as value of type 'i':\n  {value}\n")
                return self._set(key, value)
            case path, "reset", schema, name if path == GSETTINGS:
                return self._set(_key(schema, name), None)
            case path, "dump", folder if path == DCONF:
                assert folder == PATH
                return CommandResult(0, _dump(self.site | self.user))
            case "sh", "-c", _, path, folder, database if path == DCONF:
                assert (folder, database) == (PATH, DATABASE)
                return CommandResult(0, _dump(self.user))
            case path, "read", "-d", name if path == DCONF:
                return CommandResult(
                    0, self.site.get(name.removeprefix(PATH).replace("/", " "), "")
                )
            case path, "write", name, value if path == DCONF:
                return self._set(name.removeprefix(PATH).replace("/", " "), value)
        raise AssertionError(argv)

    def _list(self, values: dict[str, str]) -> CommandResult:
        if not self.has_schema:
            return NO_SCHEMA
        lines = []
        for key, value in values.items():
            if key in self.missing:
                continue
            child, blank, name = key.rpartition(" ")
            lines.append(f"{SCHEMA}.{child} {name} {value}" if blank else f"{SCHEMA} {key} {value}")
        return CommandResult(0, "".join(f"{line}\n" for line in lines))

    def _set(self, key: str, value: str | None) -> CommandResult:
        assert key in KEYS
        self.before_write()
        if key in self.locked:
            return CommandResult(1, "", "The key is not writable\n")
        if key not in self.ignored:
            self.user.pop(key, None)
            if value is not None:
                self.user[key] = value
        return CommandResult(0)


def _key(schema: str, name: str) -> str:
    return f"{schema.removeprefix(SCHEMA).removeprefix('.')} {name}".lstrip()


def _dump(values: dict[str, str]) -> str:
    folders: dict[str, list[str]] = {}
    for key in sorted(values):
        folder, _, name = key.rpartition(" ")
        folders.setdefault(folder or "/", []).append(f"{name}={values[key]}\n")
    return "\n".join(f"[{folder}]\n{''.join(lines)}" for folder, lines in folders.items())
