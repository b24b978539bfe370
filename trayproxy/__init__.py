"""TrayProxy: the architecture, in one page.

Programs that cannot sign in to a company proxy connect to TrayProxy on localhost, which adds the
``Proxy-Authorization`` on the way to the company's (*upstream*) proxy::

     apps ──►  ┌──────── service (no Qt, one event loop) ─────────┐ ──► upstream ──► internet
               │  engine     desk (sign-in)     vault (keyring)    │
               │  routing    profiles           desktop            │
               └───────────────▲──────────────────────▲────────────┘
                               │ control socket (this user only)
                     ┌─────────┴─────────┐   ┌────────┴──────────┐
                     │ tray (PySide6)    │   │ command line      │
                     └───────────────────┘   └───────────────────┘

The *service* owns everything that must survive a closed window: listener, profiles, logins, open
questions. *Faces* own nothing; they are clients of one control protocol. A tray that crashed has
lost no connection, and a new one shows the same open question.

Rooms, and the one rule: imports point one way, and import-linter keeps it so (pyproject.toml)::

    http       RFC 9110/9112 without I/O: heads, framing, fields, challenges
    auth       RFC 7617 without I/O: the schemes, and which one to answer with
    desk       one question per protection space; vault.py is the keyring
    routing    which way a request goes
    engine     the forwarding proxy, on proxy.py's Work contract
    profiles   the profile value and its TOML store
    desktop    what differs between operating systems
    control    the messages, the server, the client
    service    builds the parts, starts and stops them in order
    cli, ui    the faces
    demo       a company network on loopback to try it all with

Beside them three small modules that any room may ask: `identity` (what we are called), `paths`
(where files live) and `logs`; and `options`, what ``trayproxy run`` was told.

``http ← auth ← desk``; ``http, auth, routing ← engine``; everything ``← service``;
``control ← cli, ui``. Only `engine` imports proxy.py, only `desk.vault` imports keyring, only `ui`
imports PySide6, only `desktop` knows which operating system it is on; `http` and `auth` import
nothing that does I/O, tells the time or makes threads.

The documents that docstrings, comments and tests cite (``ux §3.4``, ``security.md``, R, T and F
numbers) are in ``resources/docs/design``: ux.md, security.md, http.md.
"""

__version__ = "0.1.0"
"""The version, here and nowhere else."""
