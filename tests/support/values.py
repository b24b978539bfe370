"""Profiles, prompts, logins and keyrings for tests of several packages."""

from trayproxy.auth.login import Login
from trayproxy.domain.signin import KeyringState, KeyringStatus, Prompt, PromptReason, Transport
from trayproxy.profiles.profile import Profile, Upstream

OFFICE = Profile("office", "Office", Upstream("proxy.example", 8080))
LAB = Profile("lab", "Lab", Upstream("lab.example", 8080))
PROMPT = Prompt(
    number=1,
    profile_id="office",
    profile="Office",
    upstream="http://proxy.example:8080",
    realm="Corp",
    method="Basic",
    transport=Transport.READABLE,
    user="jdoe",
    reason=PromptReason.NEEDED,
)
RIGHT = Login("jdoe", "right")
WRONG = Login("jdoe", "wrong")
GNOME = KeyringStatus(KeyringState.OK, "GNOME Keyring")
LOCKED = KeyringStatus(KeyringState.LOCKED, "GNOME Keyring")


def upstream_of(profile: Profile) -> Upstream:
    """Return the upstream of a profile that is not automatic."""
    assert profile.upstream is not None
    return profile.upstream
