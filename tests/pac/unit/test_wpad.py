from urllib.parse import urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trayproxy.pac.wpad import MAX_URLS, wpad_urls


@pytest.mark.parametrize(
    ("suffixes", "hosts"),
    [
        (["office.corp.example"], ["wpad.office.corp.example", "wpad.corp.example"]),
        (["Corp.Example."], ["wpad.corp.example"]),
        (
            ["a.b.corp.example.com"],
            [
                "wpad.a.b.corp.example.com",
                "wpad.b.corp.example.com",
                "wpad.corp.example.com",
                "wpad.example.com",
            ],
        ),
        (["corp.example", "lab.corp.example"], ["wpad.corp.example", "wpad.lab.corp.example"]),
        (["office.company.co.uk"], ["wpad.office.company.co.uk", "wpad.company.co.uk"]),
        (["company.com.au"], ["wpad.company.com.au"]),
        (["corp.bmw.de"], ["wpad.corp.bmw.de"]),
        (["bmw.de"], ["wpad.bmw.de"]),
        (["xn--bcher-kva.de"], ["wpad.xn--bcher-kva.de"]),
        (["co.uk"], []),
        (["com"], []),
        (["lan"], []),
        ([""], []),
        (["."], []),
        ([], []),
        (["corp..example"], []),
        (["corp example.com"], []),
        (["corp.example/evil?"], []),
        (["user@corp.example"], []),
        (["10.1.2.3"], []),
        (["a." * 200 + "example"], []),
    ],
)
def test_the_names_asked_for_are_the_companys_own(suffixes: list[str], hosts: list[str]) -> None:
    assert wpad_urls(suffixes) == tuple(f"http://{host}/wpad.dat" for host in hosts)


@given(st.lists(st.text(alphabet="abc.-_/: @\u0130", max_size=30)))
def test_no_suffix_leads_to_another_kind_of_url(suffixes: list[str]) -> None:
    urls = wpad_urls(suffixes)
    assert len(urls) <= MAX_URLS
    for url in urls:
        parts = urlsplit(url)
        assert (parts.scheme, parts.path, parts.query) == ("http", "/wpad.dat", "")
        assert parts.netloc.startswith("wpad.")
        assert parts.netloc.count(".") >= 2
