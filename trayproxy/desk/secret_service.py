"""The Secret Service of Linux desktops, as far as the keyring library does not go.

It would ask the person to unlock a keyring in which there is nothing for us, and does not say whose
keyring it is. All calls may block, so they belong to the thread of the vault, and the libraries are
imported only there.
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
"""What else the owner of ``org.freedesktop.secrets`` is called on the bus, and by people."""


def has_entries(service: str) -> bool:
    """Return whether there is an entry for a service; it need not be unlocked for that."""
    import secretstorage as storage

    with closing(storage.dbus_init()) as bus:
        try:
            collection = storage.get_collection_by_alias(bus, "default")
        except storage.ItemNotFoundException:
            return False
        return any(True for _ in collection.search_items({"service": service}))


def is_locked() -> bool:
    """Return whether the person has to unlock the keyring before it can be used."""
    import secretstorage as storage

    with closing(storage.dbus_init()) as bus:
        try:
            return bool(storage.get_collection_by_alias(bus, "default").is_locked())
        except storage.ItemNotFoundException:
            return False


def unlock() -> bool:
    """Have the person unlock the keyring, and wait for that without limit.

    The library would do it too, but loses a connection to the bus when the person declines.

    Returns:
        Whether it is unlocked now, or there is none yet that could be locked.
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
    """Give an entry the name that people see in the keyring's own window."""
    import secretstorage as storage

    with suppress(storage.SecretStorageException), closing(storage.dbus_init()) as bus:
        collection = storage.get_collection_by_alias(bus, "default")
        for item in collection.search_items({"service": service, "username": user}):
            item.set_label(label)


def display_name() -> str:
    """Return what people call this keyring, empty if the bus does not say.

    KWallet, GNOME Keyring and KeePassXC all offer the Secret Service; what tells them apart is
    which other name on the bus the same process has.
    """
    # By name: jeepney has no type hints.
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
