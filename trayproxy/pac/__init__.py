"""PAC scripts: where a script comes from, and which proxies it names for a URL.

`loader` loads the script and keeps it up to date; `fetch` loads it once, with `download`, `wpad`
and `decoding`; `stored_copy` keeps the last good copy of a script.
"""
