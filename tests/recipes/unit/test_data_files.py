"""The files of the recipes: new, and with settings of the user."""

from dataclasses import dataclass

import pytest

from trayproxy.desktop.system_name import SystemName
from trayproxy.desktop.system_proxy.base import BypassKind, BypassRule
from trayproxy.recipes.catalogue import load, tools
from trayproxy.recipes.placeholders import PlaceholderValues
from trayproxy.recipes.plan import edited
from trayproxy.recipes.targets import Computer, targets

VALUES = PlaceholderValues(
    "127.0.0.1:3128",
    (BypassRule("*.corp.example", BypassKind.SUBDOMAINS, "corp.example"),),
    ca="/ca.pem",
)


@dataclass(frozen=True)
class FileCase:
    """A file of a recipe.

    Attributes:
        recipe: The name of the recipe.
        name: The end of the path of the file.
        new: The text of a new file.
        change: The change of a text of the user: lines with ``+`` are added, lines with ``-`` are
            removed, and all others stay.
        system: The system.
    """

    recipe: str
    name: str
    new: str
    change: str
    system: SystemName = SystemName.LINUX

    def text(self, mark: str) -> str:
        """Return the text before (``-``) or after (``+``) the change."""
        lines = self.change.splitlines(keepends=True)
        return "".join(
            line.removeprefix(line[0].strip("\n")) for line in lines if line[0] in f" {mark}\n"
        )


FILES = (
    FileCase(
        "yarn",
        ".yarnrc.yml",
        """\
httpProxy: http://127.0.0.1:3128
httpsProxy: http://127.0.0.1:3128
httpsCaFilePath: /ca.pem
""",
        """\
 enableTelemetry: false
-httpProxy: http://old:8080 # office
+httpProxy: http://127.0.0.1:3128 # office
 npmScopes:
   corp:
     npmRegistryServer: https://npm.corp.example
+httpsProxy: http://127.0.0.1:3128
+httpsCaFilePath: /ca.pem
""",
    ),
    FileCase(
        "yarn",
        ".yarnrc",
        """\
proxy "http://127.0.0.1:3128"
https-proxy "http://127.0.0.1:3128"
cafile "/ca.pem"
""",
        """\
 # yarn lockfile v1


 lastUpdateCheck 1700000000000
-proxy "http://old:8080"
+proxy "http://127.0.0.1:3128"
+https-proxy "http://127.0.0.1:3128"
+cafile "/ca.pem"
""",
    ),
    FileCase(
        "pnpm",
        "config.yaml",
        """\
httpProxy: http://127.0.0.1:3128
httpsProxy: http://127.0.0.1:3128
noProxy: "localhost,127.0.0.1,::1,.corp.example"
""",
        """\
 storeDir: /data/pnpm
-noProxy: localhost
+noProxy: "localhost,127.0.0.1,::1,.corp.example"
+httpProxy: http://127.0.0.1:3128
+httpsProxy: http://127.0.0.1:3128
""",
    ),
    FileCase(
        "pip",
        "pip.conf",
        """\
[global]
proxy = http://127.0.0.1:3128
cert = /ca.pem
""",
        """\
 [global]
 index-url = https://packages.corp.example/simple
+proxy = http://127.0.0.1:3128
+cert = /ca.pem

 # mirror
 [install]
 trusted-host =
     packages.corp.example
""",
    ),
    FileCase(
        "uv",
        "uv.toml",
        """\
http-proxy = "http://127.0.0.1:3128"
https-proxy = "http://127.0.0.1:3128"
no-proxy = ["localhost", "127.0.0.1", "::1", ".corp.example"]
system-certs = true
""",
        """\
 # uv
-no-proxy = ["db.corp.example"]
+no-proxy = ["db.corp.example", "localhost", "127.0.0.1", "::1", ".corp.example"]
+http-proxy = "http://127.0.0.1:3128"
+https-proxy = "http://127.0.0.1:3128"
+system-certs = true

 [pip]
 strict = true
""",
    ),
    FileCase(
        "conda",
        ".condarc",
        """\
proxy_servers:
  http: http://127.0.0.1:3128
  https: http://127.0.0.1:3128
ssl_verify: /ca.pem
""",
        """\
 channels:
   - conda-forge
 proxy_servers:
-  http: http://old:8080
+  http: http://127.0.0.1:3128
+  https: http://127.0.0.1:3128
+ssl_verify: /ca.pem
 # end
""",
    ),
    FileCase(
        "cargo",
        "config",
        """\
[http]
proxy = "http://127.0.0.1:3128"
cainfo = "/ca.pem"
""",
        """\
 [net]
 git-fetch-with-cli = true

 [http]
 check-revoke = false # slow
+proxy = "http://127.0.0.1:3128"
+cainfo = "/ca.pem"
""",
    ),
    FileCase(
        "docker-daemon",
        "daemon.json",
        """\
{
  "proxies": {
    "http-proxy": "http://127.0.0.1:3128",
    "https-proxy": "http://127.0.0.1:3128",
    "no-proxy": "localhost,127.0.0.1,::1,.corp.example"
  }
}
""",
        """\
 {
   "log-driver": "local",
   "registry-mirrors": [
     "https://mirror.corp.example"
-  ]
+  ],
+  "proxies": {
+    "http-proxy": "http://127.0.0.1:3128",
+    "https-proxy": "http://127.0.0.1:3128",
+    "no-proxy": "localhost,127.0.0.1,::1,.corp.example"
+  }
 }
""",
    ),
    FileCase(
        "podman",
        "containers.conf",
        """\
[engine]
env = ["http_proxy=http://127.0.0.1:3128", "https_proxy=http://127.0.0.1:3128", \
"no_proxy=localhost,127.0.0.1,::1,.corp.example"]
[containers]
http_proxy = false
""",
        """\
 [engine]
-env = ["TZ=UTC", "https_proxy=http://old:8080"]
+env = ["TZ=UTC", "https_proxy=http://127.0.0.1:3128", "http_proxy=http://127.0.0.1:3128", \
"no_proxy=localhost,127.0.0.1,::1,.corp.example"]

 [containers]
 log_size_max = 1000
+http_proxy = false
""",
    ),
    FileCase(
        "dnf",
        "dnf.conf",
        """\
[main]
proxy = http://127.0.0.1:3128
""",
        """\
 [main]
 gpgcheck=1
 best=True
+proxy = http://127.0.0.1:3128
""",
    ),
    FileCase(
        "maven",
        "settings.xml",
        """\
<?xml version="1.0" encoding="utf-8"?>
<settings>
  <proxies>
    <proxy>
      <id>trayproxy-https</id>
      <active>true</active>
      <protocol>https</protocol>
      <host>127.0.0.1</host>
      <port>3128</port>
      <nonProxyHosts>localhost|127.*|[::1]|*.corp.example</nonProxyHosts>
    </proxy>
    <proxy>
      <id>trayproxy</id>
      <active>true</active>
      <protocol>http</protocol>
      <host>127.0.0.1</host>
      <port>3128</port>
      <nonProxyHosts>localhost|127.*|[::1]|*.corp.example</nonProxyHosts>
    </proxy>
  </proxies>
</settings>
""",
        """\
 <?xml version="1.0" encoding="UTF-8"?>
 <settings xmlns="http://maven.apache.org/SETTINGS/1.2.0">
   <localRepository>/data/m2</localRepository>
   <proxies>
+    <proxy>
+      <id>trayproxy-https</id>
+      <active>true</active>
+      <protocol>https</protocol>
+      <host>127.0.0.1</host>
+      <port>3128</port>
+      <nonProxyHosts>localhost|127.*|[::1]|*.corp.example</nonProxyHosts>
+    </proxy>
+    <proxy>
+      <id>trayproxy</id>
+      <active>true</active>
+      <protocol>http</protocol>
+      <host>127.0.0.1</host>
+      <port>3128</port>
+      <nonProxyHosts>localhost|127.*|[::1]|*.corp.example</nonProxyHosts>
+    </proxy>
     <proxy>
       <id>office</id>
       <active>true</active>
       <host>proxy.corp.example</host>
     </proxy>
   </proxies>
 </settings>
""",
    ),
    FileCase(
        "gradle",
        "gradle.properties",
        """\
systemProp.http.proxyHost=127.0.0.1
systemProp.http.proxyPort=3128
systemProp.http.nonProxyHosts=localhost|127.*|[::1]|*.corp.example
systemProp.https.proxyHost=127.0.0.1
systemProp.https.proxyPort=3128
""",
        """\
 # Gradle
 org.gradle.jvmargs=-Xmx4g \\
   -Dfile.encoding=UTF-8
-systemProp.http.proxyHost=old
+systemProp.http.proxyHost=127.0.0.1
+systemProp.http.proxyPort=3128
+systemProp.http.nonProxyHosts=localhost|127.*|[::1]|*.corp.example
+systemProp.https.proxyHost=127.0.0.1
+systemProp.https.proxyPort=3128
""",
    ),
    FileCase(
        "dotnet",
        ".nuget/NuGet/NuGet.Config",
        """\
<?xml version="1.0" encoding="utf-8"?>
<configuration>
  <config>
    <add key="http_proxy" value="http://127.0.0.1:3128" />
    <add key="no_proxy" value="localhost,127.0.0.1,::1,.corp.example" />
  </config>
</configuration>
""",
        """\
 <?xml version="1.0" encoding="utf-8"?>
 <configuration>
   <packageSources>
     <add key="nuget.org" value="https://api.nuget.org/v3/index.json" protocolVersion="3" />
   </packageSources>
+  <config>
+    <add key="http_proxy" value="http://127.0.0.1:3128" />
+    <add key="no_proxy" value="localhost,127.0.0.1,::1,.corp.example" />
+  </config>
 </configuration>
""",
    ),
    FileCase(
        "wget",
        ".wgetrc",
        """\
use_proxy = on
http_proxy = http://127.0.0.1:3128
https_proxy = http://127.0.0.1:3128
no_proxy = localhost,127.0.0.1,::1,.corp.example
ca_certificate = /ca.pem
""",
        """\
 # wget
 timeout = 30
-https-proxy = http://old:8080
+https-proxy = http://127.0.0.1:3128
+use_proxy = on
+http_proxy = http://127.0.0.1:3128
+no_proxy = localhost,127.0.0.1,::1,.corp.example
+ca_certificate = /ca.pem
""",
    ),
    FileCase(
        "ssh",
        "config",
        """\
# >>> trayproxy >>>
Host github.com gitlab.com bitbucket.org ssh.github.com altssh.gitlab.com altssh.bitbucket.org
    ProxyCommand trayproxy connect %h:%p
Host *
# <<< trayproxy <<<
""",
        """\
+# >>> trayproxy >>>
+Host github.com gitlab.com bitbucket.org ssh.github.com altssh.gitlab.com altssh.bitbucket.org
+    ProxyCommand trayproxy connect %h:%p
+Host *
+# <<< trayproxy <<<
 AddKeysToAgent yes

 Host build
     HostName build.corp.example
""",
    ),
    FileCase(
        "vscode",
        "settings.json",
        """\
{
  "http.proxy": "http://127.0.0.1:3128",
  "http.noProxy": [
    "localhost",
    "127.0.0.1",
    "::1",
    ".corp.example"
  ]
}
""",
        """\
 {
     // office
     "editor.fontSize": 14,
-    "http.noProxy": ["db.corp.example"], // db
+    "http.noProxy": ["db.corp.example", "localhost", "127.0.0.1", "::1", ".corp.example"], // db
+    "http.proxy": "http://127.0.0.1:3128",
 }
""",
    ),
    FileCase(
        "wsl",
        ".wslconfig",
        """\
[wsl2]
networkingMode = mirrored
autoProxy = true
""",
        """\
 [wsl2]
 memory=8GB
+networkingMode = mirrored
+autoProxy = true
""",
        SystemName.WINDOWS,
    ),
    FileCase(
        "claude-code",
        "settings.json",
        """\
{
  "env": {
    "HTTP_PROXY": "http://127.0.0.1:3128",
    "HTTPS_PROXY": "http://127.0.0.1:3128",
    "NO_PROXY": "localhost,127.0.0.1,::1,.corp.example",
    "NODE_EXTRA_CA_CERTS": "/ca.pem"
  }
}
""",
        """\
 {
   "permissions": {
     "allow": ["Bash(ls:*)"]
   },
   "env": {
-    "TZ": "UTC"
+    "TZ": "UTC",
+    "HTTP_PROXY": "http://127.0.0.1:3128",
+    "HTTPS_PROXY": "http://127.0.0.1:3128",
+    "NO_PROXY": "localhost,127.0.0.1,::1,.corp.example",
+    "NODE_EXTRA_CA_CERTS": "/ca.pem"
   }
 }
""",
    ),
    FileCase(
        "copilot",
        "settings.json",
        """\
{
  "proxyUrl": "http://127.0.0.1:3128"
}
""",
        """\
 {
-  "theme": "github" // dark
+  "theme": "github", // dark
+  "proxyUrl": "http://127.0.0.1:3128"
 }
""",
    ),
    FileCase(
        "gemini",
        ".env",
        """\
HTTP_PROXY=http://127.0.0.1:3128
HTTPS_PROXY=http://127.0.0.1:3128
NO_PROXY=localhost,127.0.0.1,::1,.corp.example
""",
        """\
 # key
 GEMINI_API_KEY="abc"
+HTTP_PROXY=http://127.0.0.1:3128
+HTTPS_PROXY=http://127.0.0.1:3128
+NO_PROXY=localhost,127.0.0.1,::1,.corp.example
""",
    ),
)


OTHERS = {
    "bash",
    "curl",
    "docker",
    "environment.d",
    "fish",
    "git",
    "npm",
    "nushell",
    "powershell",
    "zsh",
}
"""The recipes that other tests apply."""


@pytest.mark.parametrize("case", FILES, ids=lambda case: f"{case.recipe}-{case.name}")
def test_a_file_gets_the_settings_and_keeps_the_rest(case: FileCase) -> None:
    home = "C:/Users/jdoe" if case.system is SystemName.WINDOWS else "/home/jdoe"
    here = Computer(case.system, {}, home, lambda path: True)
    (target,) = (
        target
        for target in targets(load(case.recipe), here, VALUES)
        if target.path.replace("\\", "/").endswith("/" + case.name)
    )
    assert edited(target, None).decode() == case.new
    for newline in ("\n", "\r\n"):
        before, after = (case.text(mark).replace("\n", newline) for mark in "-+")
        assert edited(target, before.encode()).decode() == after


def test_the_file_of_apt() -> None:
    here = Computer(SystemName.LINUX, {}, "/root", lambda path: True)
    (target,) = targets(load("apt"), here, VALUES)
    assert target.path == "/etc/apt/apt.conf.d/95trayproxy"
    assert target.is_of_system
    assert (
        edited(target, None).decode()
        == """\
// Written by TrayProxy. To remove it: sudo rm /etc/apt/apt.conf.d/95trayproxy
Acquire::http::Proxy "http://127.0.0.1:3128";
Acquire::https::Proxy "http://127.0.0.1:3128";
"""
    )


def test_each_recipe_with_a_file_is_tested() -> None:
    with_files = {tool for tool in tools() if load(tool).files}
    assert with_files - OTHERS == {case.recipe for case in FILES} | {"apt"}


LINUX, MACOS, WINDOWS = SystemName.LINUX, SystemName.MACOS, SystemName.WINDOWS
WINDOWS_FOLDERS = {
    "APPDATA": "C:/Users/jdoe/AppData/Roaming",
    "LOCALAPPDATA": "C:/Users/jdoe/AppData/Local",
}
PREFERENCES = "Library/Application Support"


@pytest.mark.parametrize(
    ("tool", "system", "environ", "existing", "path"),
    [
        ("pip", LINUX, {}, (), "~/.config/pip/pip.conf"),
        ("pip", LINUX, {"XDG_CONFIG_HOME": "/c"}, (), "/c/pip/pip.conf"),
        ("pip", LINUX, {}, ("~/.pip/pip.conf",), "~/.pip/pip.conf"),
        ("pip", LINUX, {"PIP_CONFIG_FILE": "/p.conf"}, (), "/p.conf"),
        ("pip", MACOS, {}, (), f"~/{PREFERENCES}/pip/pip.conf"),
        ("pip", MACOS, {}, ("~/.config/pip/pip.conf",), "~/.config/pip/pip.conf"),
        ("pip", WINDOWS, {}, (), "~/AppData/Roaming/pip/pip.ini"),
        ("uv", MACOS, {}, (), "~/.config/uv/uv.toml"),
        ("uv", WINDOWS, {}, (), "~/AppData/Roaming/uv/uv.toml"),
        ("uv", LINUX, {"UV_CONFIG_FILE": "/uv.toml"}, (), "/uv.toml"),
        ("pnpm", MACOS, {}, (), "~/Library/Preferences/pnpm/config.yaml"),
        ("pnpm", WINDOWS, {}, (), "~/AppData/Local/pnpm/config/config.yaml"),
        ("conda", LINUX, {"CONDARC": "/condarc"}, (), "/condarc"),
        ("cargo", LINUX, {}, (), "~/.cargo/config.toml"),
        ("cargo", LINUX, {}, ("~/.cargo/config", "~/.cargo/config.toml"), "~/.cargo/config"),
        ("cargo", WINDOWS, {"CARGO_HOME": "D:/cargo"}, (), "D:/cargo/config.toml"),
        ("gradle", LINUX, {"GRADLE_USER_HOME": "/g"}, (), "/g/gradle.properties"),
        ("podman", LINUX, {"CONTAINERS_CONF": "/c.conf"}, (), "/c.conf"),
        ("wget", MACOS, {"WGETRC": "/w"}, (), "/w"),
        ("dotnet", LINUX, {}, (), None),
        ("dotnet", LINUX, {}, ("~/.config/NuGet/NuGet.Config",), "~/.config/NuGet/NuGet.Config"),
        ("dotnet", MACOS, {}, ("~/.nuget/NuGet/NuGet.Config",), "~/.nuget/NuGet/NuGet.Config"),
        ("vscode", LINUX, {}, (), "~/.config/Code/User/settings.json"),
        ("vscode", MACOS, {}, (), f"~/{PREFERENCES}/Code/User/settings.json"),
        ("vscode", WINDOWS, {}, (), "~/AppData/Roaming/Code/User/settings.json"),
        ("vscode", LINUX, {"VSCODE_PORTABLE": "/v"}, (), "/v/user-data/User/settings.json"),
        ("claude-code", WINDOWS, {}, (), "~/.claude/settings.json"),
        ("claude-code", LINUX, {"CLAUDE_CONFIG_DIR": "/c"}, (), "/c/settings.json"),
        ("copilot", LINUX, {"COPILOT_HOME": "/c"}, (), "/c/settings.json"),
        ("gemini", LINUX, {}, (), "~/.gemini/.env"),
        ("gemini", LINUX, {}, ("~/.env",), "~/.env"),
        ("wsl", WINDOWS, {}, (), "~/.wslconfig"),
        ("wsl", LINUX, {}, (), None),
        ("docker-daemon", LINUX, {}, (), "/etc/docker/daemon.json"),
    ],
)
def test_the_file_is_the_file_that_the_program_reads(
    tool: str,
    system: SystemName,
    environ: dict[str, str],
    existing: tuple[str, ...],
    path: str | None,
) -> None:
    home = {LINUX: "/home/jdoe", MACOS: "/Users/jdoe", WINDOWS: "C:/Users/jdoe"}[system]
    folders = WINDOWS_FOLDERS if system is WINDOWS else {}
    there = {name.replace("~", home) for name in existing}
    here = Computer(system, {**folders, **environ}, home, lambda name: name in there)
    found = [target.path.replace("\\", "/") for target in targets(load(tool), here, VALUES)]
    assert found[:1] == ([path.replace("~", home)] if path else [])
