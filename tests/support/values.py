"""Profiles, logins and keyrings that tests of several packages use."""

from trayproxy.auth.login import Login
from trayproxy.domain.signin import KeyringState, KeyringStatus
from trayproxy.profiles.profile import Profile, Upstream

OFFICE = Profile("office", "Office", Upstream("proxy.example", 8080))
LAB = Profile("lab", "Lab", Upstream("lab.example", 8080))
RIGHT = Login("jdoe", "right")
WRONG = Login("jdoe", "wrong")
GNOME = KeyringStatus(KeyringState.OK, "GNOME Keyring")
LOCKED = KeyringStatus(KeyringState.LOCKED, "GNOME Keyring")
