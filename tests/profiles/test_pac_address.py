import pytest
from hypothesis import given
from hypothesis import strategies as st

from trayproxy.profiles.pac_address import looks_like_pac, parse_pac_source
from trayproxy.profiles.pac_source import PacKind, PacSource
from trayproxy.profiles.profile import ProfileError

URL, FILE, DATA = PacKind.URL, PacKind.FILE, PacKind.DATA


@pytest.mark.parametrize(
    ("text", "kind", "location"),
    [
        ("http://pac.corp.example/proxy.pac", URL, "http://pac.corp.example/proxy.pac"),
        (" HTTPS://PAC.Corp.Example:443/Proxy.PAC ", URL, "https://pac.corp.example/Proxy.PAC"),
        ("http://pac:80/x", URL, "http://pac/x"),
        ("http://pac:8080/x?site=a b#top", URL, "http://pac:8080/x?site=a%20b"),
        ("http://pac/a%20b/ü.pac", URL, "http://pac/a%20b/%C3%BC.pac"),
        ("http://bücher.example/x.pac", URL, "http://xn--bcher-kva.example/x.pac"),
        ("http://[FD00::0:1]:8080/x.pac", URL, "http://[fd00::1]:8080/x.pac"),
        ("http://pac.corp.example", URL, "http://pac.corp.example/"),
        ("pac.corp.example/proxy.pac", URL, "http://pac.corp.example/proxy.pac"),
        ("pac.corp.example:8000/proxy.pac", URL, "http://pac.corp.example:8000/proxy.pac"),
        ("pac+http://pac.example/x", URL, "http://pac.example/x"),
        ("PAC+https://pac.example/x", URL, "https://pac.example/x"),
        ("http://wpad", URL, "http://wpad/wpad.dat"),
        ("http://wpad/", URL, "http://wpad/wpad.dat"),
        ("wpad.corp.example", URL, "http://wpad.corp.example/wpad.dat"),
        ("http://wpad/other.dat", URL, "http://wpad/other.dat"),
        ("/etc/company.pac", FILE, "/etc/company.pac"),
        ("file:///etc/company.pac", FILE, "/etc/company.pac"),
        ("file:/etc/company.pac", FILE, "/etc/company.pac"),
        ("file://localhost/etc/my%20company.pac", FILE, "/etc/my company.pac"),
        ("pac+file:///etc/company.pac", FILE, "/etc/company.pac"),
        (r"C:\company\proxy.pac", FILE, r"C:\company\proxy.pac"),
        ("C:/company/proxy.pac", FILE, "C:/company/proxy.pac"),
        ("file:///C:/company/proxy.pac", FILE, r"C:\company\proxy.pac"),
        ("file://C:/company/proxy.pac", FILE, r"C:\company\proxy.pac"),
        (r"file://C:\company\proxy.pac", FILE, r"C:\company\proxy.pac"),
        ("file:///C|/company/proxy.pac", FILE, r"C:\company\proxy.pac"),
        (r"\\server\share\proxy.pac", FILE, r"\\server\share\proxy.pac"),
        ("file://server/share/proxy.pac", FILE, r"\\server\share\proxy.pac"),
        ("data:,function%20FindProxyForURL", DATA, "data:,function%20FindProxyForURL"),
        ("System", PacKind.SYSTEM, ""),
        (" wpad ", PacKind.WPAD, ""),
    ],
)
def test_a_source_is_read_from_the_text_that_a_person_pastes(
    text: str, kind: PacKind, location: str
) -> None:
    source = parse_pac_source(text)
    assert source == PacSource(kind, location)
    assert parse_pac_source(str(source)) == source
    assert looks_like_pac(str(source)) or location.endswith(".example/")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "Write the address of the PAC script"),
        ("http://", "Write the address of the PAC script"),
        ("http://pac/x\n.pac", "Write the address of the PAC script"),
        ("http://pac/\u202ex.pac", "Write the address of the PAC script"),
        ("http://user:secret@pac/x.pac", "Leave the user name and the password out"),
        ("ftp://pac/x.pac", "TrayProxy loads PAC scripts by http or https, or from a file."),
        ("javascript:alert", "TrayProxy loads PAC scripts by http or https, or from a file."),
        ("http://pa c/x.pac", "This is not the name of a computer"),
        ("http://pac:99999/x.pac", "The port is a number"),
        ("http://pac:80:80/x.pac", "Put an IPv6 address in brackets"),
        ("http://127.1/x.pac", "Write the IP address in full"),
        ("proxy.pac", "Write the whole path of the file"),
        ("~/proxy.pac", "Write the full path of the file"),
        ("file:proxy.pac", "Write the full path of the file"),
        ("/" + "x" * 5000, "Write the path of the file"),
        ("file:///etc/%00x", "Write the path of the file"),
        ("http://pac/" + "x" * 5000, "longer than 2048 characters"),
        ("data:,", ""),
        ("data:text/javascript", "A data: URL has a comma"),
        ("data:," + "x" * 70000, "Save the script in a file"),
    ],
)
def test_other_texts_are_refused_in_words(text: str, message: str) -> None:
    if not message:
        assert parse_pac_source(text).kind is DATA
        return
    with pytest.raises(ProfileError, match=message) as refused:
        parse_pac_source(text)
    assert "secret" not in str(refused.value)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("http://pac.corp.example/proxy.pac", True),
        ("https://pac.corp.example/?site=5", True),
        ("pac.corp.example/proxy.pac", True),
        ("http://wpad", True),
        ("wpad", True),
        ("wpad.corp.example", True),
        ("system", True),
        ("proxy.pac", True),
        ("~/proxy.pac", True),
        (r"C:\proxy.pac", True),
        (r"\\server\share\proxy.pac", True),
        ("file:///etc/x", True),
        ("data:,x", True),
        ("pac+http://pac.example", True),
        ("", False),
        ("proxy", False),
        ("proxy:8080", False),
        ("proxy.corp.example:8080", False),
        ("http://proxy.corp.example:8080", False),
        ("http://proxy.corp.example:8080/", False),
        ("https://user:secret@proxy.corp.example:8080/", False),
        ("socks5://proxy.corp.example:1080", False),
        ("socks5h://proxy.corp.example:1080/x.pac", False),
        ("[::1]:3128", False),
        ("wpad:8080", False),
        ("http://wpad:8080", False),
        ("proxy1:8080, proxy2:8080", False),
        ("the proxy / of my company", False),
    ],
)
def test_the_source_of_a_script_is_told_from_the_address_of_a_proxy(
    text: str, expected: bool
) -> None:
    assert looks_like_pac(text) is expected


@given(st.text(max_size=60))
def test_any_text_is_read_or_refused_with_a_profile_error(text: str) -> None:
    looks_like_pac(text)
    try:
        source = parse_pac_source(text)
    except ProfileError:
        return
    assert parse_pac_source(str(source)) == source


@pytest.mark.parametrize(
    ("text", "title", "is_authentic"),
    [
        ("https://pac/x.pac?token=5", "https://pac/x.pac", True),
        ("http://pac/x.pac", "http://pac/x.pac", False),
        ("/etc/x.pac", "/etc/x.pac", True),
        ("data:,secret", "data: URL", True),
        ("system", "system settings", False),
        ("wpad", "automatic detection (WPAD)", False),
    ],
)
def test_a_source_is_shown_without_its_query(text: str, title: str, is_authentic: bool) -> None:
    source = parse_pac_source(text)
    assert (source.title, source.is_authentic) == (title, is_authentic)
