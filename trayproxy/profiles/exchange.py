"""The file with which profiles are exchanged between computers: ``trayproxy profiles export``.

The file is a settings file with profiles only, so that every key of a profile is in it. It contains
no password: passwords are not in the settings.
"""

import tomllib
from collections.abc import Iterable
from dataclasses import dataclass, replace

from trayproxy.profiles.config import Config
from trayproxy.profiles.document import SCHEMA, parse_settings, rewrite_settings
from trayproxy.profiles.edit import profile_keys
from trayproxy.profiles.profile import Profile

_HEADER = f"""\
# Profiles of TrayProxy. Passwords are not here.
# Import the profiles on another computer: trayproxy profiles import FILE
schema = {SCHEMA}
"""


@dataclass(frozen=True, slots=True)
class ImportedProfiles:
    """The content of a file.

    Attributes:
        profiles: The profiles.
        unknown: The keys that are not imported, such as ``listen``, or ``colour of “Office”``.
    """

    profiles: tuple[Profile, ...]
    unknown: tuple[str, ...] = ()


def export_profiles(profiles: Iterable[Profile], *, with_user_names: bool = True) -> str:
    """Return the text of a file with profiles.

    Args:
        profiles: The profiles, with different ids and names.
        with_user_names: False to leave out the user names.
    """
    kept = (p if with_user_names else replace(p, user="") for p in profiles)
    return rewrite_settings(_HEADER, Config(profiles=tuple(kept)))


def import_profiles(text: str) -> ImportedProfiles:
    """Return the profiles of a file of `export_profiles`, or of a settings file.

    Raises:
        InvalidSettingsError: The text is not valid TOML, or a key or value is invalid.
        NewerSchemaError: The text is of a newer TrayProxy.
    """
    profiles = parse_settings(text).profiles
    document = tomllib.loads(text)
    known = profile_keys()
    unknown = [key for key in document if key not in ("schema", "profiles", "active", "previous")]
    for profile, table in zip(profiles, document.get("profiles", ()), strict=True):
        unknown += (f"{key} of “{profile.name}”" for key in table if key not in known)
    return ImportedProfiles(profiles, tuple(unknown))
