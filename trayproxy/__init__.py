"""The architecture of TrayProxy.

Programs without support for proxy authentication connect to TrayProxy on localhost, which adds
``Proxy-Authorization`` on the way to the company's (*upstream*) proxy::

     apps ──►  ┌──────── service (no Qt, one event loop) ─────────┐ ──► upstream ──► internet
               │  engine     desk (sign-in)     keyring            │
               │  routing    profiles           desktop            │
               └───────────────▲──────────────────────▲────────────┘
                               │ control socket (this user only)
                     ┌─────────┴─────────┐   ┌────────┴──────────┐
                     │ tray (PySide6)    │   │ command line      │
                     └───────────────────┘   └───────────────────┘

The *service* owns everything that must survive a closed window: the listener, the profiles, the
logins and the open prompts. The *front ends* (tray, command line) own no such state; they are
clients of the control protocol. When the tray crashes, no connection is lost, and a new tray shows
the same open prompt.

The packages; import-linter checks the direction of their imports (pyproject.toml)::

    http       RFC 9110/9112 without I/O: heads, framing, fields, challenges
    auth       the authentication schemes (RFC 7617 and others) without I/O, and their selection
    desk       the sign-in desk: logins and prompts; keyring_store.py is the keyring
    routing    the bypass rules: hosts that are reached directly
    pac        PAC scripts: loading, and the proxies that they name for a URL
    engine     the forwarding proxy, on proxy.py's Work contract
    profiles   the profile value and its TOML store
    desktop    everything that differs between operating systems
    system_settings  changes of the computer's own settings that can be undone: journal, restore
    recipes    the settings of other programs that make them use TrayProxy
    importers  the profiles in the settings of other programs
    domain     the values shared by desk, control and the front ends: prompt, problem, exit codes
    control    the control protocol: messages, server, client
    service    constructs the parts, starts them and stops them in order
    cli, ui    the front ends
    demo       a company network on loopback for trying TrayProxy

Any package may import these small modules: `identity` (the application's names), `paths` (where
files are), `file_replacement` (replaces files as a whole), and `logs`. `options` holds the parsed
options of ``trayproxy run``.

``http ← auth ← desk``; ``http, auth, routing ← engine``; everything ``← service``;
``control ← cli, ui``; ``domain ← desk, control``. Only `engine` imports proxy.py, only
`desk.keyring_store` imports keyring, only `ui` imports PySide6, and only `desktop` depends on the
operating system; `http` and `auth` import no module that does I/O, reads a clock or starts threads.

The documents cited in docstrings, comments and tests (``ux §3.4``, ``security.md``, R, T and F
numbers) are in ``resources/docs/design``: ux.md, security.md, http.md.
"""

__version__ = "0.1.0"
"""The version of TrayProxy; its only definition."""
