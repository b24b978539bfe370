"""Tests for trayproxy.desktop.trust_store, with replacements of the systems' calls."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import pytest

from trayproxy.desktop.commands import CommandResult
from trayproxy.desktop.trust_store.base import from_pem, to_pem
from trayproxy.desktop.trust_store.linux import LinuxAuthorities
from trayproxy.desktop.trust_store.macos import (
    ADMIN_KEYCHAIN,
    APPLE_KEYCHAIN,
    USER_KEYCHAIN,
    MacosAuthorities,
)
from trayproxy.desktop.trust_store.windows import (
    DISTRUSTED,
    INTERMEDIATES,
    ROOTS,
    Entry,
    WindowsAuthorities,
)
from trayproxy.system_settings.entries import TargetError

PUBLIC, COMPANY, OTHER, BAD = (name * 40 for name in (b"public", b"company", b"other", b"bad"))


def test_a_text_may_contain_other_texts_and_unreadable_certificates() -> None:
    broken = "-----BEGIN CERTIFICATE-----\n!!!!\n-----END CERTIFICATE-----\n"
    text = "# été\r\n" + to_pem([PUBLIC]).replace("\n", "\r\n") + broken + to_pem([COMPANY])
    assert list(from_pem(text)) == [PUBLIC, COMPANY]
    assert list(from_pem(to_pem([b""]).replace("CERTIFICATE", "PRIVATE KEY"))) == []


# --- Linux ---------------------------------------------------------------------------------------


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    path = tmp_path / "bundle.crt"
    path.write_text(to_pem([PUBLIC, COMPANY, PUBLIC]))
    return path


def linux(bundles: Iterable[Path], chosen: str = "", own: Path = Path("own")) -> LinuxAuthorities:
    return LinuxAuthorities({"SSL_CERT_FILE": chosen}, own, [str(path) for path in bundles])


def test_linux_reads_the_first_bundle_with_certificates(tmp_path: Path, bundle: Path) -> None:
    empty = tmp_path / "empty"
    empty.touch()
    found = linux([tmp_path / "missing", tmp_path, empty, bundle]).certificates()
    assert found == (PUBLIC, COMPANY)


def test_linux_adds_the_bundle_of_the_user_but_not_our_own_file(
    tmp_path: Path, bundle: Path
) -> None:
    own = tmp_path / "own.pem"
    own.write_text(to_pem([OTHER, PUBLIC]))
    assert linux([bundle], str(own)).certificates() == (PUBLIC, COMPANY, OTHER)
    assert linux([bundle], str(own), own).certificates() == (PUBLIC, COMPANY)
    assert linux([bundle], str(tmp_path / "missing")).certificates() == (PUBLIC, COMPANY)


# --- Windows -------------------------------------------------------------------------------------

SERVER, MAIL = "1.3.6.1.5.5.7.3.1", "1.3.6.1.5.5.7.3.4"


def test_windows_takes_authorities_for_servers_from_its_stores() -> None:
    stores: dict[str, list[Entry]] = {
        ROOTS: [
            (COMPANY, "x509_asn", True),
            (b"mail", "x509_asn", frozenset({MAIL})),
            (b"none", "x509_asn", False),
            (b"pkcs", "pkcs_7_asn", True),
            (BAD, "x509_asn", True),
        ],
        INTERMEDIATES: [(OTHER, "x509_asn", frozenset({MAIL, SERVER}))],
        DISTRUSTED: [(BAD, "x509_asn", frozenset()), (b"gone", "x509_asn", False)],
    }
    found = WindowsAuthorities(stores.__getitem__, [PUBLIC, COMPANY, b"gone"]).certificates()
    assert found == (COMPANY, OTHER, PUBLIC)


def test_windows_reports_a_store_that_cannot_be_read() -> None:
    def refuse(name: str) -> list[Entry]:
        raise PermissionError(13, "Access is denied")

    with pytest.raises(TargetError, match="Disallowed cannot be read"):
        WindowsAuthorities(refuse, []).certificates()


# --- macOS ---------------------------------------------------------------------------------------

HOME = Path("/Users/jdoe")


class FakeSecurity:
    """The command security of macOS with these keychains; it trusts some certificates."""

    def __init__(self, keychains: Mapping[str, Sequence[bytes]], trusted: Sequence[bytes]) -> None:
        self.keychains = keychains
        self.trusted = trusted

    def __call__(self, argv: Sequence[str]) -> CommandResult:
        assert argv[0] == "/usr/bin/security"
        if argv[1] == "find-certificate":
            if argv[-1] not in self.keychains:
                return CommandResult(44, err="security: SecKeychainSearchCreateFromAttributes: no")
            return CommandResult(0, to_pem(self.keychains[argv[-1]]))
        assert argv[1:-1] == ("verify-cert", "-q", "-l", "-L", "-p", "basic", "-c")
        (der,) = from_pem(Path(argv[-1]).read_text())
        return CommandResult(0 if der in self.trusted else 1)


def test_macos_takes_added_certificates_only_if_it_trusts_them() -> None:
    keychains = {
        APPLE_KEYCHAIN: [PUBLIC],
        ADMIN_KEYCHAIN: [COMPANY, BAD],
        str(HOME / USER_KEYCHAIN): [OTHER, COMPANY],
    }
    security = FakeSecurity(keychains, [COMPANY, OTHER])
    assert MacosAuthorities(security, HOME).certificates() == (PUBLIC, COMPANY, OTHER)


def test_macos_needs_the_keychain_of_apple_only() -> None:
    security = FakeSecurity({APPLE_KEYCHAIN: [PUBLIC]}, [])
    assert MacosAuthorities(security, HOME).certificates() == (PUBLIC,)
    with pytest.raises(TargetError, match="the certificates of macOS cannot be read: security: "):
        MacosAuthorities(FakeSecurity({}, []), HOME).certificates()
