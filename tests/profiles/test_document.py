"""Tests for trayproxy.profiles.document and .edit: the text of config.toml."""

import itertools
import tomllib
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from functools import partial
from operator import methodcaller
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trayproxy.profiles.config import (
    Config,
    Forward,
    ListenAddress,
    SystemProxyMode,
    SystemProxySettings,
)
from trayproxy.profiles.document import (
    HEADER,
    InvalidSettingsError,
    NewerSchemaError,
    parse_settings,
    rewrite_settings,
)
from trayproxy.profiles.profile import (
    DIRECT_ID,
    Encoding,
    Method,
    Profile,
    ProfileError,
    ProxyScheme,
    SignIn,
    Upstream,
)

OFFICE = Profile("office", "Office", Upstream("proxy.example", 8080), user="CORP\\jdoe")
LAB = Profile("lab", "Lab", Upstream("::1", 3128), SignIn.NONE, bypass=("localhost", "*.lab"))

TEXT = """\
# My settings
schema = 1  # the first
active = "lab"
colour = "blue"

# Where to listen
[listen]
port = 8888  # not 3128

# About the office
[[profiles]]
id = "office"  # keep
name = "Office"
upstream = "proxy.example:8080"
user = 'CORP\\jdoe'
mood = "good"

# About the lab
[[profiles]]
id = "lab"
name = "Lab"
upstream = "http://[::1]:3128"
sign_in = "none"
bypass = ["localhost", "*.lab"]

# About something newer
[newer]
x = 1
"""
CONFIG = Config(ListenAddress(port=8888), "lab", (OFFICE, LAB))


def test_settings_are_read() -> None:
    assert parse_settings(TEXT) == CONFIG


def test_an_empty_text_means_the_defaults() -> None:
    assert parse_settings("") == parse_settings(HEADER) == Config()


@pytest.mark.parametrize(
    ("old", "new", "line", "reason"),
    [
        ("schema = 1 ", "schema = ", 2, "invalid value"),
        ('active = "lab"', 'active = "lab', 3, ""),
        ("[newer]\nx = 1\n", "[newer", 27, ""),
        ("schema = 1 ", 'schema = "1" ', 2, "schema is a number"),
        ("schema = 1 ", "schema = true ", 2, "schema is a number"),
        ("schema = 1 ", "schema = 0 ", 2, "schema is 1"),
        ('active = "lab"', 'active = "gone"', 3, "active is not the id"),
        ("port = 8888", "port = 70000", 8, "number from 0 to 65535"),
        ("port = 8888", 'port = "x"', 8, "port is a number"),
        ("port = 8888", 'host = "0.0.0.0"', 8, "List the devices that may connect"),
        ("port = 8888", 'host = "office"', 8, "such as 127.0.0.1"),
        ("port = 8888", 'devices = "10.0.0.7"', 8, "devices is a list"),
        ("port = 8888", "devices = [7]", 8, "list of texts"),
        ("port = 8888", 'devices = ["10.0.0.7", "printer"]', 8, "or 192.168.1.0/24"),
        ("port = 8888", 'devices = ["0.0.0.0/0"]', 8, "every address in the world"),
        ("port = 8888", "devices_password = 1", 8, "devices_password is true or false"),
        ("port = 8888", "containers = 1", 8, "containers is true or false"),
        ("[newer]\nx = 1\n", "[forward]\nlisten = 1\n", 27, "[[forward]]"),
        ("[newer]\nx = 1\n", "[[forward]]\nto = 'a:1'\n", 27, "listen is missing"),
        ("[newer]\nx = 1\n", "[[forward]]\nlisten = '2222'\n", 27, "to is missing"),
        (
            "[newer]\nx = 1\n",
            "[[forward]]\nlisten = '1'\nto = 'a:1'\n[[forward]]\nlisten = '0'\nto = 'a:1'\n",
            31,
            "number from 1",
        ),
        (
            "[newer]\nx = 1\n",
            "[[forward]]\nlisten = '1'\nto = 'a:1'\n[[forward]]\nto = 'a:1'\nlisten = '1'\n",
            32,
            "used twice",
        ),
        ("[newer]\nx = 1\n", "[[forward]]\nlisten = '8888'\nto = 'a:1'\n", 28, "used twice"),
        ("[newer]\nx = 1\n", "[[forward]]\nlisten = '1'\nto = 'a'\n", 29, "git.example:22"),
        ("[newer]\nx = 1\n", "[[forward]]\nlisten = '1'\nto = 'a b:1'\n", 29, "name of a computer"),
        ("[newer]\nx = 1\n", "[[forward]]\nlisten = '192.0.2.1:1'\nto = 'a:1'\n", 28, "devices"),
        ("port = 8888", 'allow_users = "_apt"', 8, "allow_users is a list"),
        ("port = 8888", "allow_users = [true]", 8, "names and numbers"),
        ("port = 8888", 'allow_users = ["a b"]', 8, "such as _apt"),
        ('upstream = "proxy.example:8080"', "", 11, "upstream is missing"),
        ('"proxy.example:8080"', '"proxy.example"', 14, "Add the port"),
        ('"proxy.example:8080"', '"jd:canary@proxy.example:8080"', 14, "keyring"),
        ('name = "Office"', 'name = " "', 13, "Give the profile a name"),
        ('name = "Lab"', 'name = "OFFICE"', 21, "already"),
        ('id = "lab"', 'id = "office"', 20, "two profiles have this id"),
        ('id = "lab"', 'id = "Lab"', 20, "lower-case"),
        ('sign_in = "none"', 'sign_in = "ntlm"', 23, "sign_in is password or none or sso"),
        ('mood = "good"', 'method = "kerberos"', 16, "method is automatic or negotiate"),
        ('mood = "good"', 'encoding = "cp1252"', 16, "encoding is utf-8 or latin-1"),
        ('["localhost", "*.lab"]', '["localhost", 3]', 24, "list of texts"),
        ('["localhost", "*.lab"]', '"localhost"', 24, "bypass is a list"),
        ('mood = "good"', "fallbacks = [3]", 16, "list of texts"),
        ('mood = "good"', 'fallbacks = ["x"]', 16, "Add the port"),
        ('mood = "good"', 'fallbacks = ["proxy.example:8080"]', 12, "twice"),
        ('mood = "good"', 'ca_file = "company.pem"', 16, "full path"),
        ('mood = "good"', 'spn = "proxy.example"', 16, "as HTTP/proxy.corp.example"),
        ('mood = "good"', "spn = 1", 16, "spn is a text"),
        ('mood = "good"', "canonical_name = 1", 16, "canonical_name is true or false"),
        ('mood = "good"', 'client_certificate = "jd.p12"', 16, "full path"),
        ('mood = "good"', 'client_key = "/k.pem"', 12, "certificate of this key"),
        (
            'mood = "good"',
            'client_key = "/k.pem"\nclient_certificate = "/c.P12"',
            12,
            "contains its key",
        ),
        ('mood = "good"', "get_ticket = true", 12, "only for your own sign-in"),
        ('mood = "good"', 'spn = "HTTP/a"\ncanonical_name = true', 12, "Choose either"),
        ('mood = "good"', "use_on = [3]", 16, "use_on is a list of texts"),
        ('mood = "good"', 'use_on = ["wifi"]', 16, "Write a network as"),
        ('mood = "good"', 'else_direct = "yes"', 16, "true or false"),
        ('mood = "good"', 'Password = "canary"', 16, "trayproxy login"),
        ("[listen]\nport", "listen", 7, "listen is a table"),
        ("[[profiles]]", "[profiles]", 19, "annot"),
        ("[newer]\nx = 1\n", "[system-proxy]\nuse = 1\n", 28, "use is true or false"),
        ("[newer]\nx = 1\n", '[system-proxy]\nmode = "on"\n', 28, "mode is address or pac"),
    ],
)
def test_an_error_is_reported_with_its_line(old: str, new: str, line: int, reason: str) -> None:
    assert old in TEXT
    count = 2 if old == "[[profiles]]" else 1
    with pytest.raises(InvalidSettingsError) as caught:
        parse_settings(TEXT.replace(old, new, count))
    assert caught.value.line == line
    assert reason.lower() in caught.value.reason.lower()
    assert "canary" not in str(caught.value)


def test_users_are_read_by_name_and_number_and_kept_as_written() -> None:
    text = 'schema = 1\nactive = ""\n[listen]\nallow_users = ["_apt ", 105]  # for apt\n'
    config = parse_settings(text)
    assert config.listen == ListenAddress(allow_users=("_apt", "105"))
    kept = rewrite_settings(text, config.with_profile(OFFICE))
    assert 'allow_users = ["_apt ", 105]  # for apt' in kept
    default = replace(config, listen=ListenAddress())
    assert parse_settings(rewrite_settings(text, default)) == default


def test_other_devices_and_forwards_are_read_and_kept_as_written() -> None:
    text = """\
schema = 1
active = ""
[listen]
host = "0.0.0.0"
devices = ["192.168.1.7/24", "10.0.0.7/32"]  # the lab
devices_password = true
containers = true
# to git
[[forward]]
listen = "2222"  # ssh
to = "Git.Example:22"

[[forward]]
listen = "192.168.1.2:2223"
to = "[2001:DB8::1]:22"
"""
    config = parse_settings(text)
    assert config.listen == ListenAddress(
        "0.0.0.0", devices=("192.168.1.0/24", "10.0.0.7"), devices_password=True, containers=True
    )
    assert str(config.listen) == "127.0.0.1:3128"
    assert config.forwards == (
        Forward("127.0.0.1", 2222, "git.example", 22),
        Forward("192.168.1.2", 2223, "2001:db8::1", 22),
    )
    assert [forward.target for forward in config.forwards] == ["git.example:22", "[2001:db8::1]:22"]
    changed = replace(config, listen=replace(config.listen, port=1))
    assert rewrite_settings(text, changed).replace("port = 1\n", "") == text
    second = replace(config, forwards=config.forwards[1:])
    assert rewrite_settings(text, second) == text.replace(
        '[[forward]]\nlisten = "2222"  # ssh\nto = "Git.Example:22"\n\n', ""
    )


def test_a_newer_schema_is_refused() -> None:
    with pytest.raises(NewerSchemaError) as caught:
        parse_settings("schema = 2\nprofiles = 3\n")
    assert caught.value.schema == 2


@pytest.mark.parametrize("text", ["a = " + "[" * 100_000, "\0" * 1000, "{}", "\ufeff", "a" * 9999])
def test_invalid_toml_is_an_error(text: str) -> None:
    with pytest.raises(InvalidSettingsError):
        parse_settings(text)


def test_a_new_file_has_all_usual_keys() -> None:
    assert rewrite_settings("", Config().with_profile(OFFICE)) == (
        "# The settings of TrayProxy. Passwords are not here: they are in the keyring.\n"
        "schema = 1\n"
        'active = "office"\n'
        "\n"
        "[[profiles]]\n"
        'id = "office"\n'
        'name = "Office"\n'
        'upstream = "http://proxy.example:8080"\n'
        'sign_in = "password"\n'
        'user = "CORP\\\\jdoe"\n'
        "bypass = []\n"
    )


def test_optional_keys_of_a_new_profile_are_written_only_with_a_value() -> None:
    profile = Profile(
        "office",
        "Office",
        Upstream("proxy.example", 443, ProxyScheme.HTTPS),
        fallbacks=(Upstream("b.example", 1080, ProxyScheme.SOCKS5),),
        ca_file="/etc/company.pem",
    )
    text = rewrite_settings("", Config().with_profile(profile))
    assert 'upstream = "https://proxy.example:443"\n' in text
    assert 'fallbacks = ["socks5://b.example:1080"]\n' in text
    assert 'ca_file = "/etc/company.pem"\n' in text
    assert parse_settings(text).profile == profile


def test_the_own_sign_in_a_method_and_an_encoding_are_kept_r_092() -> None:
    # `test_a_new_file_has_all_usual_keys` checks that other profiles do not have these keys.
    profile = replace(
        OFFICE, sign_in=SignIn.SSO, method=Method.NEGOTIATE, encoding=Encoding.LATIN_1
    )
    text = rewrite_settings("", Config().with_profile(profile))
    assert 'sign_in = "sso"\n' in text
    assert 'method = "negotiate"\n' in text
    assert 'encoding = "latin-1"\n' in text
    assert parse_settings(text).profile == profile


@pytest.mark.parametrize(
    ("change", "line"),
    [
        ({"spn": "HTTP/proxy.corp.example"}, 'spn = "HTTP/proxy.corp.example"\n'),
        ({"canonical_name": True}, "canonical_name = true\n"),
        ({"client_certificate": "/home/jd/jd.p12"}, 'client_certificate = "/home/jd/jd.p12"\n'),
        ({"client_certificate": "/c.pem", "client_key": "/k.pem"}, 'client_key = "/k.pem"\n'),
        ({"get_ticket": True, "sign_in": SignIn.SSO}, "get_ticket = true\n"),
    ],
)
def test_a_rare_setting_is_kept(change: dict[str, Any], line: str) -> None:
    profile = replace(OFFICE, **change)
    text = rewrite_settings("", Config().with_profile(profile))
    assert line in text
    assert parse_settings(text).profile == profile
    undone = rewrite_settings(text, Config().with_profile(OFFICE))
    assert parse_settings(undone).profile == OFFICE


@pytest.mark.parametrize(
    ("config", "old", "new"),
    [
        (CONFIG, "", ""),
        (CONFIG.with_active("office"), 'active = "lab"', 'active = "office"'),
        (
            CONFIG.with_active(DIRECT_ID),
            'active = "lab"\ncolour = "blue"\n',
            'active = "direct"\ncolour = "blue"\nprevious = "lab"\n',
        ),
        (replace(CONFIG, listen=ListenAddress(port=1)), "port = 8888", "port = 1"),
        (
            CONFIG.with_profile(replace(OFFICE, sign_in=SignIn.NONE)),
            'mood = "good"\n',
            'mood = "good"\nsign_in = "none"\n',
        ),
    ],
    ids=["no change", "active", "direct", "port", "new key after the last key"],
)
def test_a_change_affects_only_its_own_line(config: Config, old: str, new: str) -> None:
    changed = TEXT.replace(old, new)
    assert rewrite_settings(TEXT, config) == changed
    assert parse_settings(changed) == config


@pytest.mark.parametrize("active", ["direct", "lab", ""])
@pytest.mark.parametrize("previous", ["office", "gone", ""])
def test_a_previous_profile_is_read_only_with_direct_connections(
    active: str, previous: str
) -> None:
    text = TEXT.replace('active = "lab"', f'active = "{active}"\nprevious = "{previous}"')
    expected = previous if (active, previous) == ("direct", "office") else ""
    config = parse_settings(text)
    assert (config.active, config.previous) == (active, expected)
    assert parse_settings(rewrite_settings(text, config.with_active("lab"))) == CONFIG


def test_a_new_profile_is_appended() -> None:
    new = Profile("new", "New", Upstream("new.example", 1))
    changed = rewrite_settings(TEXT, CONFIG.with_profile(new))
    before, separator, _ = changed.partition('\n[[profiles]]\nid = "new"')
    assert before.count("[[profiles]]") == 2
    assert separator
    assert "# About something newer\n" in changed
    assert parse_settings(changed) == CONFIG.with_profile(new)


def test_removing_a_profile_keeps_the_comments_of_the_next_profile() -> None:
    changed = rewrite_settings(TEXT, CONFIG.without_profile("office"))
    assert 'mood = "good"' not in changed
    for comment in ("# My settings", '# About the lab\n[[profiles]]\nid = "lab"', "# the first"):
        assert comment in changed
    gone = rewrite_settings(TEXT, CONFIG.without_profile("office").without_profile("lab"))
    assert "profiles" not in tomllib.loads(gone)
    assert "# About something newer\n[newer]\nx = 1\n" in gone


@pytest.mark.parametrize(
    "text",
    [
        'profiles = [{id = "a", name = "A", upstream = "a:1"}]\n',
        'profiles = [{id = "a", name = "A", upstream = "a:1"}]\nlisten.port = 3128\n',
    ],
)
def test_an_unsupported_layout_is_not_changed(text: str) -> None:
    config = parse_settings(text)
    with pytest.raises(InvalidSettingsError, match="layout"):
        rewrite_settings(text, config.with_profile(LAB))


def test_a_file_without_a_final_line_end_can_be_changed() -> None:
    assert parse_settings(rewrite_settings("[listen]\nport = 1", CONFIG)) == CONFIG


def test_windows_line_ends_are_accepted() -> None:
    text = TEXT.replace("\n", "\r\n")
    assert parse_settings(text) == CONFIG
    only_office = CONFIG.without_profile("lab")
    assert parse_settings(rewrite_settings(text, only_office)) == only_office


IDS = ["a", "b", "c", "d"]
COMMENT = st.sampled_from(["", "\n", "# comment {}\n", "\n# comment {}\n\n", "  # comment {}\n"])
PROFILES = st.builds(
    Profile,
    id=st.sampled_from(IDS),
    name=st.sampled_from(["A", "B", "C", "Büro “x” # no comment", 'D"\\']),
    upstream=st.builds(Upstream, st.sampled_from(["a.example", "::1"]), st.integers(1, 65535)),
    sign_in=st.sampled_from(SignIn),
    user=st.sampled_from(["", "CORP\\jdoe", "ü'\"#"]),
    bypass=st.lists(st.sampled_from(["localhost", "*.x", "10.0.0.0/8"]), max_size=3).map(tuple),
    fallbacks=st.lists(
        st.builds(Upstream, st.just("b.example"), st.integers(1, 9), st.sampled_from(ProxyScheme)),
        max_size=2,
        unique=True,
    ).map(tuple),
    ca_file=st.sampled_from(["", "/etc/Büro.pem"]),
    method=st.sampled_from(Method),
    encoding=st.sampled_from(Encoding),
    use_on=st.lists(st.sampled_from(["wifi:Büro *", "answers"]), unique=True).map(tuple),
    else_direct=st.booleans(),
)
LISTEN_ADDRESSES = st.builds(
    ListenAddress,
    st.just("::1"),
    st.integers(10, 65535),
    st.lists(st.sampled_from(["_apt", "105", "*"]), max_size=2).map(tuple),
    st.sampled_from([(), ("10.0.0.7", "192.168.1.0/24")]),
    st.booleans(),
    st.booleans(),
)
FORWARDS = st.lists(
    st.builds(
        Forward,
        st.sampled_from(["127.0.0.1", "::1"]),
        st.integers(1, 9),
        st.sampled_from(["git.example", "2001:db8::1"]),
        st.integers(1, 65535),
    ),
    max_size=3,
    unique_by=lambda forward: forward.address,
).map(tuple)
SYSTEM_PROXY_SETTINGS = st.builds(
    SystemProxySettings, st.booleans(), st.sampled_from(SystemProxyMode), st.booleans()
)
Edit = Callable[[Config], Config]
EDITS: st.SearchStrategy[Edit] = st.one_of(
    st.builds(methodcaller, st.just("with_profile"), PROFILES),
    st.builds(methodcaller, st.just("with_active"), st.sampled_from([*IDS, DIRECT_ID])),
    st.builds(partial, st.just(replace), listen=LISTEN_ADDRESSES),
    st.builds(partial, st.just(replace), system_proxy=SYSTEM_PROXY_SETTINGS),
    st.builds(partial, st.just(replace), forwards=FORWARDS),
)
COMMENTS = st.lists(COMMENT, min_size=1, max_size=20)
KEYS = st.lists(st.booleans(), min_size=1, max_size=9)


def lay_out(config: Config, comments: list[str], keys: list[bool]) -> str:
    """Write the settings like a user, with comments between the lines and some keys left out."""
    marks = itertools.cycle(comments)
    full = itertools.cycle(keys)
    lines: list[str] = []

    def line(text: str) -> None:
        lines.append(text + next(marks).format(len(lines)))

    line("")
    if next(full):
        line("schema = 1\n")
    if config.active or next(full):
        line(f"active = '{config.active}'\n")
    if config.previous:
        line(f"previous = '{config.previous}'\n")
    if config.listen != ListenAddress():
        line("[listen]\n")
        line(f"host = '{config.listen.host}'  # comment in line\n")
        line(f"port = {config.listen.port}\n")
    for profile in config.profiles:
        line("[[profiles]]\n")
        line(f"id = '{profile.id}'\n")
        line("extra = 1\n")
        line(f"name = {quoted(profile.name)}\n")
        line(f"upstream = '{profile.upstream}'\n")
        if next(full) or profile.sign_in != SignIn.PASSWORD:
            line(f"sign_in = '{profile.sign_in}'\n")
        if next(full) or profile.user:
            line(f"user = {quoted(profile.user)}\n")
        if next(full) or profile.bypass:
            line(f"bypass = {list(profile.bypass)}\n")
        if next(full) or profile.fallbacks:
            line(f"fallbacks = {[str(upstream) for upstream in profile.fallbacks]}\n")
        if next(full) or profile.ca_file:
            line(f"ca_file = {quoted(profile.ca_file)}\n")
        if next(full) or profile.method != Method.AUTOMATIC:
            line(f"method = '{profile.method}'\n")
        if next(full) or profile.encoding != Encoding.UTF_8:
            line(f"encoding = '{profile.encoding}'\n")
        if next(full) or profile.use_on:
            line(f"use_on = {list(profile.use_on)}\n")
        if next(full) or profile.else_direct:
            line(f"else_direct = {str(profile.else_direct).lower()}\n")
    line("[last]\n")
    line("x = 1\n")
    return "".join(lines)


def quoted(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def comments_of(text: str) -> list[str]:
    lines = map(str.strip, text.splitlines())
    return sorted(line for line in lines if line.startswith("# comment"))


def config_with(profiles: list[Profile]) -> Config:
    """Return settings with the profiles, without profiles of a taken name."""
    config = Config()
    for profile in profiles:
        with suppress(ProfileError):
            config = config.with_profile(profile)
    return config


@given(st.lists(PROFILES, max_size=3), COMMENTS, KEYS, st.lists(EDITS, max_size=6))
def test_edits_keep_every_comment_and_round_trip(
    profiles: list[Profile], comments: list[str], keys: list[bool], edits: list[Edit]
) -> None:
    config = config_with(profiles)
    text = lay_out(config, comments, keys)
    assert parse_settings(text) == config
    before = comments_of(text)
    for edit in edits:
        try:
            config = edit(config)
        except ProfileError:
            continue
        text = rewrite_settings(text, config)
        assert parse_settings(text) == config
    assert comments_of(text) == before
    assert tomllib.loads(text)["last"] == {"x": 1}


@given(st.lists(PROFILES, min_size=1, max_size=3), COMMENTS, KEYS, st.permutations(IDS))
def test_removing_profiles_keeps_the_rest(
    profiles: list[Profile], comments: list[str], keys: list[bool], gone: list[str]
) -> None:
    config = config_with(profiles)
    text = lay_out(config, comments, keys)
    outside = comments_of(text.partition("[[profiles]]")[0])
    for profile_id in gone:
        config = config.without_profile(profile_id)
        text = rewrite_settings(text, config)
        assert parse_settings(text) == config
    assert not set(outside) - set(comments_of(text))
    assert tomllib.loads(text)["last"] == {"x": 1}


@given(st.text(max_size=300))
def test_any_text_is_parsed_or_raises_the_documented_error(text: str) -> None:
    try:
        config = parse_settings(text)
    except (InvalidSettingsError, NewerSchemaError):
        return
    try:
        changed = rewrite_settings(text, config.with_profile(LAB))
    except InvalidSettingsError:
        return
    assert parse_settings(changed) == config.with_profile(LAB)
