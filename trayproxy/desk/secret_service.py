"""Functions for the Secret Service of Linux desktops that the keyring library lacks.

The keyring library prompts the user to unlock a keyring even without an entry of TrayProxy, and
does not name the service's program. All functions may block: only the thread of the keyring store
calls them, and the libraries are imported there.
"""

from contextlib import closing, suppress
from importlib import import_module

DISPLAY_NAMES = {
    "org.gnome.keyring": "GNOME Keyring",
    "org.kde.kwalletd5": "KWallet",
    "org.kde.kwalletd6": "KWallet",
    "org.kde.kwalletd": "KWallet",
    "org.keepassxc.KeePassXC.MainWindow": "KeePassXC",
}
"""Display names of the programs that provide ``org.freedesktop.secrets``, by another bus name that
each of these programs owns.
"""


def has_entries(service: str) -> bool:
    """Return whether a service has an entry; works while the keyring is locked."""
    import secretstorage as storage

    with closing(storage.dbus_init()) as bus:
        try:
            collection = storage.get_collection_by_alias(bus, "default")
        except storage.ItemNotFoundException:
            return False
        return any(True for _ in collection.search_items({"service": service}))


def is_locked() -> bool:
    """Return whether the user must unlock the keyring before it can be used."""
    import secretstorage as storage

    with closing(storage.dbus_init()) as bus:
        try:
            return bool(storage.get_collection_by_alias(bus, "default").is_locked())
        except storage.ItemNotFoundException:
            return False


def unlock() -> bool:
    """Prompt the user to unlock the keyring, and wait for the user without a limit.

    The keyring library does the same, but leaks a bus connection if the user declines. Return True
    if the keyring is unlocked now, or does not exist yet.
    """
    import secretstorage as storage

    with closing(storage.dbus_init()) as bus:
        try:
            collection = storage.get_collection_by_alias(bus, "default")
        except storage.ItemNotFoundException:
            return True
        if not collection.is_locked():
            return True
        collection.unlock()
        return not collection.is_locked()


def set_label(service: str, user: str, label: str) -> None:
    """Set the label of an entry, which the keyring's own window shows."""
    import secretstorage as storage

    with suppress(storage.SecretStorageException), closing(storage.dbus_init()) as bus:
        collection = storage.get_collection_by_alias(bus, "default")
        for item in collection.search_items({"service": service, "username": user}):
            item.set_label(label)


def display_name() -> str:
    """Return the display name of the keyring, empty if the bus does not tell.

    KWallet, GNOME Keyring and KeePassXC all provide the Secret Service; they differ in the
    process's other bus names.
    """
    # Imported by name: jeepney has no type hints.
    jeepney, blocking = import_module("jeepney"), import_module("jeepney.io.blocking")
    with closing(blocking.open_dbus_connection()) as bus:
        driver = blocking.Proxy(jeepney.message_bus, bus)

        def process(owned: str) -> int | None:
            with suppress(jeepney.DBusErrorResponse):
                return int(driver.GetConnectionUnixProcessID(owned)[0])
            return None

        owner = process("org.freedesktop.secrets")
        if owner is None:
            return ""
        known = (people for owned, people in DISPLAY_NAMES.items() if process(owned) == owner)
        return next(known, "")
