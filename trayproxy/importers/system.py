"""The proxy of the desktop's own settings, as it was before TrayProxy."""

from dataclasses import dataclass, field

from trayproxy.desktop.system_pac import environment
from trayproxy.desktop.system_pac.base import SystemSetting
from trayproxy.importers.bypass import import_bypass
from trayproxy.importers.found import Found, FoundProfile, Place, Source
from trayproxy.importers.logins import clear_password, full_user_name


@dataclass(frozen=True, slots=True)
class DesktopProxy:
    """The proxy of the desktop.

    Attributes:
        setting: The setting.
        user: The user name in the settings; empty if there is none.
        password: The password in the settings; empty if there is none.
    """

    setting: SystemSetting
    user: str = ""
    password: str = field(default="", repr=False)


def from_desktop(proxy: DesktopProxy) -> Found:
    """Return the settings of the desktop; the source of the environment variables has those."""
    setting = proxy.setting
    if setting.origin == environment.TITLE:
        return Found()
    place = Place(f"the settings of {setting.origin}" if setting.origin else "the system settings")
    if setting.reason:
        return Found(notes=(f"{place}: {setting.reason}.",))
    if setting.source is not None:
        return Found((FoundProfile(Source.SYSTEM, place, pac=setting.source),))
    bypass = import_bypass(setting.bypass, covers_subdomains=False)
    # The proxy for https URLs is another proxy, not a fallback.
    upstreams = dict.fromkeys(each for each in (setting.http, setting.https) if each is not None)
    user = full_user_name("", proxy.user)
    password = clear_password(proxy.password, place, "authentication-password")
    return Found(
        tuple(
            FoundProfile(
                Source.SYSTEM,
                place,
                (upstream,),
                # The login in the settings is that for http URLs.
                user=user if upstream == setting.http else "",
                bypass=bypass.rules,
                password=password if user and upstream == setting.http else None,
                notes=bypass.notes,
            )
            for upstream in upstreams
        )
    )
