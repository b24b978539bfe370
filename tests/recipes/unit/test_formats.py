"""The text of each format before and after a change."""

import pytest

from trayproxy.recipes.formats.editors import read_value, set_values
from trayproxy.recipes.formats.setting import Format, Setting, UnreadableTextError

URL = "http://127.0.0.1:3128"
HTTP = Setting(("http", "proxy"), URL)
PROXY = Setting(("proxy",), URL)
MAVEN = (
    Setting(("settings", "proxies", "proxy[id=trayproxy]", "host"), "127.0.0.1"),
    Setting(("settings", "proxies", "proxy[id=trayproxy]", "port"), 3128),
)
NUGET = Setting(("configuration", "config", "add[@key=http_proxy]", "@value"), URL)
LINES = (Setting((), ("one", "two")), Setting((), ("three",)))

LATIN_1 = '<?xml version="1.0" encoding="iso-8859-1"?>'
MAVEN_PROXY = """\
    <proxy>
      <id>trayproxy</id>
      <host>127.0.0.1</host>
      <port>3128</port>
    </proxy>
"""

CHANGES = [
    # git
    (Format.GIT, "", HTTP, f"[http]\n\tproxy = {URL}\n"),
    (Format.GIT, "[HTTP]\n\tProxy=old ; c\n[a]\n", HTTP, f"[HTTP]\n\tProxy={URL} ; c\n[a]\n"),
    (Format.GIT, "[http]proxy\n", HTTP, f"[http]proxy = {URL}\n"),
    (Format.GIT, "[a]\r\n\tb = c", HTTP, f"[a]\r\n\tb = c\r\n[http]\r\n\tproxy = {URL}"),
    (
        Format.GIT,
        '[http "https://x"]\n\tproxy = y\n[http]\n# c\n\ta = "b\\\n # c"\n# d\n',
        HTTP,
        f'[http "https://x"]\n\tproxy = y\n[http]\n# c\n\ta = "b\\\n # c"\n\tproxy = {URL}\n# d\n',
    ),
    (Format.GIT, "[http]\nproxy=a\nproxy=\\\nb\\\nc\n", HTTP, f"[http]\nproxy=a\nproxy={URL}\n"),
    (
        Format.GIT,
        "\ufeff[http]\n",
        Setting(("http", "sslCAInfo"), "C:\\My #1\\ca.pem"),
        '\ufeff[http]\n\tsslCAInfo = "C:\\\\My #1\\\\ca.pem"\n',
    ),
    # ini
    (Format.INI, "", HTTP, f"[http]\nproxy = {URL}\n"),
    (Format.INI, "[http]\nproxy: a\n  b\n\n# c\n", HTTP, f"[http]\nproxy: {URL}\n\n# c\n"),
    (
        Format.INI,
        "; c\r\n[http]\r\na = 1\r\n 2\r\n\r\n[b]\r\nproxy = x\r\n",
        HTTP,
        f"; c\r\n[http]\r\na = 1\r\n 2\r\nproxy = {URL}\r\n\r\n[b]\r\nproxy = x\r\n",
    ),
    (Format.INI, "[http]\nproxy =\n[b]", HTTP, f"[http]\nproxy ={URL}\n[b]"),
    # JSON
    (Format.JSON, "", HTTP, f'{{\n  "http": {{\n    "proxy": "{URL}"\n  }}\n}}\n'),
    (Format.JSON, "// c\n", PROXY, f'// c\n{{\n  "proxy": "{URL}"\n}}\n'),
    (Format.JSON, '{"a": [1, {}]}', HTTP, f'{{"a": [1, {{}}], "http": {{"proxy": "{URL}"}}}}'),
    (Format.JSON, '{"http": null}', HTTP, f'{{"http": {{"proxy": "{URL}"}}}}'),
    (
        Format.JSON,
        '{\r\n\t"a": "//", // c\r\n\t"b": 2, /* d */ // e\r\n}\r\n',
        PROXY,
        f'{{\r\n\t"a": "//", // c\r\n\t"b": 2, /* d */ // e\r\n\t"proxy": "{URL}",\r\n}}\r\n',
    ),
    (
        Format.JSON,
        '{\n    "http": {},\n    "b": 2 // c\n}',
        HTTP,
        f'{{\n    "http": {{\n        "proxy": "{URL}"\n    }},\n    "b": 2 // c\n}}',
    ),
    (
        Format.JSON,
        '{\n  "b": 2 // c\n}',
        Setting(("n",), ("a", "b")),
        '{\n  "b": 2, // c\n  "n": [\n    "a",\n    "b"\n  ]\n}',
    ),
    (
        Format.JSON,
        '{"n": ["x"], "n": ["b", "z"]}',
        Setting(("n",), ("a", "b")),
        '{"n": ["x"], "n": ["b", "z", "a"]}',
    ),
    (Format.JSON, '{"a": 1, "a": true}', Setting(("a",), False), '{"a": 1, "a": false}'),
    # TOML
    (Format.TOML, "", HTTP, f'[http]\nproxy = "{URL}"\n'),
    (Format.TOML, "\ufeffa = 1", HTTP, f'\ufeffa = 1\n[http]\nproxy = "{URL}"'),
    (
        Format.TOML,
        "[ 'http' ] # [x]\r\na = [1, # ]\r\n 2]\r\n\r\n# d\r\n[http.b]\r\nproxy = 1\r\n",
        HTTP,
        f"[ 'http' ] # [x]\r\na = [1, # ]\r\n 2]\r\nproxy = \"{URL}\"\r\n\r\n# d\r\n[http.b]\r\n"
        "proxy = 1\r\n",
    ),
    (Format.TOML, "http.a=1\n[b]\n", HTTP, f'http.a=1\nhttp.proxy = "{URL}"\n[b]\n'),
    (Format.TOML, "http = {a = 1}\n", HTTP, f'http = {{a = 1, proxy = "{URL}"}}\n'),
    (Format.TOML, "http = {}\n", HTTP, f'http = {{ proxy = "{URL}" }}\n'),
    (
        Format.TOML,
        'x = \'\'\'\n[http]\nproxy = 1\'\'\'\nhttp."proxy" = """a\n"b"""" # c\n',
        HTTP,
        f"x = '''\n[http]\nproxy = 1'''\nhttp.\"proxy\" = \"{URL}\" # c\n",
    ),
    (Format.TOML, "# c\n\n[a]\n", PROXY, f'proxy = "{URL}"\n# c\n\n[a]\n'),
    (
        Format.TOML,
        "[[http.a]]\nproxy = 1\nd = {b = [{}, {c = 1}]}\n",
        HTTP,
        f'[[http.a]]\nproxy = 1\nd = {{b = [{{}}, {{c = 1}}]}}\n[http]\nproxy = "{URL}"\n',
    ),
    (
        Format.TOML,
        "[e]\nenv = ['A=1', 'https_proxy=old']\n",
        Setting(("e", "env"), ("https_proxy=new", "no_proxy=x")),
        '[e]\nenv = ["A=1", "https_proxy=new", "no_proxy=x"]\n',
    ),
    # YAML
    (Format.YAML, "", HTTP, f"http:\n  proxy: {URL}\n"),
    (
        Format.YAML,
        "# c\n---\na:\n- b\n# d\n",
        HTTP,
        f"# c\n---\na:\n- b\nhttp:\n  proxy: {URL}\n# d\n",
    ),
    (
        Format.YAML,
        "http:\r\n    a: |\r\n      proxy: x\r\n    'proxy' : \"old\" # c\r\n\r\nb: [\r\n c]\r\n",
        HTTP,
        f"http:\r\n    a: |\r\n      proxy: x\r\n    'proxy' : {URL} # c\r\n\r\nb: [\r\n c]\r\n",
    ),
    (Format.YAML, "http: {}\nb: 1\n", HTTP, f"http:\n  proxy: {URL}\nb: 1\n"),
    (Format.YAML, "proxy:\nb: 1", PROXY, f"proxy: {URL}\nb: 1"),
    (Format.YAML, "a: b", Setting(("ca",), "C:\\a: b"), 'a: b\nca: "C:\\\\a: b"'),
    # XML
    (
        Format.XML,
        "",
        MAVEN,
        '<?xml version="1.0" encoding="utf-8"?>\n<settings>\n  <proxies>\n'
        f"{MAVEN_PROXY}  </proxies>\n</settings>\n",
    ),
    (
        Format.XML,
        f'{LATIN_1}<!-- \udce9 --><settings xmlns="x">\r\n  <proxies/>\r\n</settings>',
        MAVEN,
        f'{LATIN_1}<!-- \udce9 --><settings xmlns="x">\r\n  <proxies>\r\n'
        + MAVEN_PROXY.replace("\n", "\r\n")
        + "  </proxies>\r\n</settings>",
    ),
    (
        Format.XML,
        "<settings><proxies><proxy><id>trayproxy</id><host>ä</host><port /></proxy></proxies>"
        "</settings>",
        MAVEN,
        "<settings><proxies><proxy><id>trayproxy</id><host>127.0.0.1</host><port>3128</port>"
        "</proxy></proxies></settings>",
    ),
    (
        Format.XML,
        "<settings>\n  <proxies>\n    <!-- a --><proxy>\n    </proxy>\n  </proxies>\n</settings>\n",
        MAVEN,
        f"<settings>\n  <proxies>\n    <!-- a -->{MAVEN_PROXY.lstrip()}    <proxy>\n    </proxy>\n"
        "  </proxies>\n</settings>\n",
    ),
    (
        Format.XML,
        "<configuration>\n\t<config>\n\t\t<add key='a' value='>'/>\n\t</config>\n</configuration>",
        NUGET,
        "<configuration>\n\t<config>\n\t\t<add key='a' value='>'/>\n"
        f'\t\t<add key="http_proxy" value="{URL}" />\n\t</config>\n</configuration>',
    ),
    (
        Format.XML,
        "<configuration><config><add key='http_proxy' value = 'old'/></config></configuration>",
        NUGET,
        f"<configuration><config><add key='http_proxy' value = \"{URL}\"/></config>"
        "</configuration>",
    ),
    # one assignment per line
    (Format.PROPERTIES, "! c\\\nproxy : x\\\n  y\na", PROXY, f"! c\\\nproxy : {URL}\na"),
    (Format.PROPERTIES, "pro\\u0078y", PROXY, f"pro\\u0078y={URL}"),
    (Format.PROPERTIES, "a\n", Setting(("ca",), "C:\\ü"), "a\nca=C:\\\\\\u00fc\n"),
    (Format.NPMRC, "proxy = a ; c\nb[]=1\n", PROXY, f"proxy = {URL}\nb[]=1\n"),
    (Format.NPMRC, "//r/:_authToken=x\r\n", PROXY, f"//r/:_authToken=x\r\nproxy={URL}\r\n"),
    (Format.NPMRC, "[s]\nproxy=x\n", PROXY, f"proxy={URL}\n[s]\nproxy=x\n"),
    (Format.NPMRC, "", Setting(("cafile",), "C:\\a;b.pem"), "cafile=C:\\\\a\\;b.pem\n"),
    (Format.WGETRC, "# c\nPro-xy = x \n", PROXY, f"# c\nPro-xy = {URL} \n"),
    (Format.WGETRC, "a=b", PROXY, f"a=b\nproxy = {URL}"),
    (Format.CURLRC, "silent\n--proxy http://a # c\n", PROXY, f'silent\n--proxy "{URL}" # c\n'),
    (Format.CURLRC, "proxy: a\n-x b\n-s", PROXY, f'proxy: a\n-x "{URL}"\n-s'),
    (Format.CURLRC, 'proxy="a \\" b"\n', PROXY, f'proxy="{URL}"\n'),
    (Format.CURLRC, "# c\n", PROXY, f'# c\nproxy = "{URL}"\n'),
    (
        Format.YARNRC,
        '# c\n"proxy" x\nb:\n  proxy y\n',
        PROXY,
        f'# c\n"proxy" "{URL}"\nb:\n  proxy y\n',
    ),
    (Format.YARNRC, "a true", PROXY, f'a true\nproxy "{URL}"'),
    (Format.DOTENV, "export proxy='a\nb' # c\n# d", PROXY, f"export proxy={URL} # c\n# d"),
    (Format.DOTENV, "KEY=a b # c\r\n", PROXY, f"KEY=a b # c\r\nproxy={URL}\r\n"),
    (Format.DOTENV, "a=\n", Setting(("a",), "C:\\x y"), "a='C:\\x y'\n"),
    # lines
    (
        Format.BLOCK,
        "a\r\nb",
        LINES,
        "a\r\nb\r\n# >>> trayproxy >>>\r\none\r\ntwo\r\nthree\r\n# <<< trayproxy <<<",
    ),
    (
        Format.BLOCK,
        "a\n# >>> trayproxy >>>\nold\n# <<< trayproxy <<<\nb\n",
        LINES,
        "a\n# >>> trayproxy >>>\none\ntwo\nthree\n# <<< trayproxy <<<\nb\n",
    ),
    (
        Format.FIRST_BLOCK,
        "\ufeffHost *\n",
        LINES,
        "\ufeff# >>> trayproxy >>>\none\ntwo\nthree\n# <<< trayproxy <<<\nHost *\n",
    ),
    (Format.WHOLE, "old\n", LINES, "one\ntwo\nthree\n"),
    # Lists of hosts in one text
    (
        Format.CURLRC,
        'noproxy = "intra, ::1"\n',
        Setting(("noproxy",), "localhost,::1", ","),
        'noproxy = "intra, ::1,localhost"\n',
    ),
    (Format.WGETRC, "no_proxy =\n", Setting(("no_proxy",), "a,b", ","), "no_proxy =a,b\n"),
    (Format.NPMRC, "noproxy=*,x\n", Setting(("noproxy",), "a,b", ","), "noproxy=x,a,b\n"),
    (
        Format.PROPERTIES,
        "hosts=*.corp.example|127.*\n",
        Setting(("hosts",), "localhost|127.*|[::1]", "|"),
        "hosts=*.corp.example|127.*|localhost|[::1]\n",
    ),
]


@pytest.mark.parametrize(("text_format", "before", "change", "after"), CHANGES)
def test_only_the_setting_is_changed(
    text_format: Format, before: str, change: Setting | tuple[Setting, ...], after: str
) -> None:
    settings = change if isinstance(change, tuple) else (change,)
    assert set_values(text_format, before, settings) == after
    assert set_values(text_format, after, settings) == after
    for setting in settings:
        assert set_values(text_format, after, [setting]) == after


@pytest.mark.parametrize(
    ("text_format", "text", "change", "reason"),
    [
        (
            Format.GIT,
            "[a]\nb = 1\n[http\n",
            HTTP,
            "line 3: this is neither a section nor a setting",
        ),
        (Format.GIT, '[a]\nb = "1\n', HTTP, "line 2: a value has a quote or a backslash too many"),
        (Format.GIT, "[a]\nb # c\n", HTTP, "line 2: this is neither a section nor a setting"),
        (Format.INI, "a = 1\n", HTTP, "line 1: there is no section before it"),
        (Format.INI, "[a]\nb\n", HTTP, "line 2: this is neither a section nor a setting"),
        (Format.INI, "[a]\n[a]\n", HTTP, "line 2: the section [a] exists twice"),
        (Format.INI, "[a]\nb=1\nB=2", HTTP, "line 3: “b” is set twice in the section [a]"),
        (Format.JSON, '{"a": }', HTTP, "line 1: this is not JSON"),
        (Format.JSON, '{"a": 01}', HTTP, "line 1: this is not JSON"),
        (Format.JSON, '{\n"a" 1}', HTTP, "line 2: a colon is missing"),
        (Format.JSON, "{a: 1}", HTTP, "line 1: a name in quotes is missing"),
        (Format.JSON, '{"a": [1 2]}', HTTP, "line 1: a comma or “]” is missing"),
        (Format.JSON, "{} {}", HTTP, "line 1: there is something after the end"),
        (Format.JSON, "[" * 5000, HTTP, "it has too many levels"),
        (Format.JSON, '{"http": []}', HTTP, "line 1: this is not an object in braces"),
        (Format.JSON, '{"proxy": {}}', PROXY, "line 1: this is an object in braces, not a value"),
        (Format.TOML, "a = \n", HTTP, "Invalid value (at line 1, column 5)"),
        (Format.TOML, "[[http]]\n", HTTP, "Cannot declare ('http',) twice (at line 2, column 6)"),
        (Format.YAML, "- a\n", HTTP, "line 1: this is not a line such as “name: value”"),
        (
            Format.YAML,
            "http:\n  - a: 1\n",
            HTTP,
            "line 2: this is not a line such as “name: value”",
        ),
        (Format.YAML, "a: 1\n...\n", HTTP, "line 2: this is not a line such as “name: value”"),
        (Format.YAML, "a: 1\n\tb: 2\n", HTTP, "line 2: this is not a line such as “name: value”"),
        (Format.YAML, "a: 1\na: 2\n", HTTP, "line 2: “a” is set twice"),
        (Format.YAML, "a: 'b\n", HTTP, "line 1: a quote is not closed"),
        (Format.YAML, "a: 'b' c\n", HTTP, "line 1: there is something after the value"),
        (Format.YAML, "a: [b\n", HTTP, "line 1: a bracket is not closed"),
        (Format.YAML, "proxy: |\n  a\n", PROXY, "line 1: “proxy” has more than one line"),
        (Format.YAML, "http: {a: 1}\n", HTTP, "line 1: “http” is not a mapping of its own lines"),
        (Format.XML, "<settings>\n", MAVEN, "line 2: no element found"),
        (Format.XML, "<a/>", MAVEN, "its outermost element is not “settings”"),
        (Format.XML, "<!DOCTYPE settings><settings/>", MAVEN, "it has a document type"),
        (
            Format.XML,
            "<settings><proxies><proxy><id>trayproxy</id><host><a/></host></proxy></proxies>"
            "</settings>",
            MAVEN,
            "“host” contains other elements",
        ),
        (Format.WGETRC, "a=b\nc\n", PROXY, "line 2: this is not a setting"),
        (Format.WGETRC, "", Setting(("a",), "b "), "“a” cannot have this value there"),
        (
            Format.BLOCK,
            "# >>> trayproxy >>>\n",
            LINES,
            "the first or the last line of TrayProxy's block is missing",
        ),
        (
            Format.BLOCK,
            "# >>> trayproxy >>>\n# <<< trayproxy <<<\n" * 2,
            LINES,
            "it has more than one block of TrayProxy",
        ),
        (Format.NPMRC, "a\0", PROXY, "line 1: it has characters that are not text in UTF-8"),
        (Format.NPMRC, "a=b\rc=d", PROXY, "line 1: it has characters that are not text in UTF-8"),
    ],
)
def test_an_unreadable_text_is_refused(
    text_format: Format, text: str, change: Setting | tuple[Setting, ...], reason: str
) -> None:
    settings = change if isinstance(change, tuple) else (change,)
    with pytest.raises(UnreadableTextError) as error:
        set_values(text_format, text, settings)
    assert error.value.reason == reason


@pytest.mark.parametrize(
    ("text_format", "text", "path", "value"),
    [
        (Format.GIT, '[a]\nb = " x " y \\\n z;c\n', ("a", "b"), " x  y  z"),
        (Format.GIT, "[a.B]\nb\n", ("a", "b", "b"), "true"),
        (Format.INI, "[a]\nb = x\n", ("a", "c"), None),
        (Format.JSON, '{"a": {"b": [1, "x"]}}', ("a", "b"), (1, "x")),
        (Format.YAML, "a:\n  b: 'it''s'\n", ("a", "b"), "it's"),
        (Format.YAML, "a: ~\n", ("a",), None),
        (Format.YAML, "a: 12\n", ("a",), 12),
        (Format.XML, "<a b='&lt;'/>", ("a", "@b"), "<"),
        (Format.PROPERTIES, "a=b\\\n  c\\td\n", ("a",), "bc\td"),
        (Format.NPMRC, "a='b'\nc", ("a",), "b"),
        (Format.CURLRC, 'a "b\\nc" d\n', ("a",), "b\nc"),
        (Format.DOTENV, "a=b\na='c'\n", ("a",), "c"),
        (Format.BLOCK, "a\n", (), None),
    ],
)
def test_a_value_is_read_as_the_program_reads_it(
    text_format: Format, text: str, path: tuple[str, ...], value: object
) -> None:
    assert read_value(text_format, text, path) == value
