import pytest
from msgspec.structs import replace

from tests.support.values import PROMPT
from trayproxy.auth.login import Login
from trayproxy.control.messages import PromptChanged, PromptClosed, Quitting
from trayproxy.demo.company_network import CompanyNetwork, Ports
from trayproxy.demo.guide import (
    DemoEvent,
    command,
    describe_event,
    describe_proxy_entry,
    introduction,
)
from trayproxy.demo.upstream import ProxyDecision, ProxyLogEntry
from trayproxy.domain.signin import Ending, PromptReason

PROXY = "http://127.0.0.1:3128"
NETWORK = CompanyNetwork(Login("demo", "qwertyui"), Ports(office=8080, lab=8081))


def test_the_introduction_contains_the_login_and_the_addresses() -> None:
    text = "\n".join(introduction(NETWORK, PROXY, has_tray=True))
    for fact in ("demo", "qwertyui", "http://127.0.0.1:8080", PROXY, "http://www.demo.example/"):
        assert fact in text


@pytest.mark.parametrize("has_private_store", [True, False])
@pytest.mark.parametrize("has_tray", [True, False])
def test_the_introduction_fits_a_terminal(
    has_tray: bool, has_private_store: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("shutil.which", lambda program: f"/usr/bin/{program}")
    monkeypatch.setattr("trayproxy.demo.guide.HAS_PRIVATE_STORE", has_private_store)
    lines = list(introduction(NETWORK, "http://127.0.0.1:65535", has_tray=has_tray))
    assert max(map(len, lines)) <= 100


def test_without_a_tray_the_introduction_does_not_mention_its_menu() -> None:
    text = "\n".join(introduction(NETWORK, PROXY, has_tray=False))
    assert "in this terminal" in text
    assert "menu" not in text


def test_the_command_is_curl_if_installed_and_else_python() -> None:
    assert command(PROXY, "/usr/bin/curl") == f"curl -x {PROXY} http://www.demo.example/"
    assert command(PROXY, None).startswith(f"http_proxy={PROXY} python3 -c ")


@pytest.mark.parametrize(
    ("event", "words"),
    [
        (ProxyLogEntry("Office", ProxyDecision.CHALLENGED, "GET /"), "407, wants a sign-in"),
        (ProxyLogEntry("Office", ProxyDecision.REJECTED, "GET /"), "407, wrong password"),
        (ProxyLogEntry("Lab", ProxyDecision.PASSED, "GET /"), "Lab: passed"),
        (PromptChanged(PROMPT), "asks you to sign in to “Office”"),
        (PromptChanged(replace(PROMPT, reason=PromptReason.TYPED_REJECTED)), "did not accept"),
        (PromptClosed(1, Ending.ACCEPTED), "signed in"),
        (PromptClosed(1, Ending.DECLINED), "closed"),
    ],
)
def test_an_event_is_described_in_one_line(event: DemoEvent, words: str) -> None:
    assert words in describe_event(event)


def test_an_unreported_event_has_an_empty_description() -> None:
    assert describe_event(Quitting()) == ""


def test_a_request_cannot_inject_control_characters() -> None:
    request = "GET \x1b]0;evil\x07" + "x" * 1000
    line = describe_event(ProxyLogEntry("Office", ProxyDecision.CHALLENGED, request))
    assert line.isprintable()
    assert len(line) < 200


def test_a_terminal_with_prompts_gets_no_lines_about_prompts() -> None:
    assert describe_proxy_entry(PromptChanged(PROMPT)) == ""
