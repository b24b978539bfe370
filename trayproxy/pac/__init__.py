"""PAC scripts: where a script comes from, and which proxies it names for a URL.

`loader` loads the script and keeps it up to date; `fetch` loads it once, with `download`, `wpad`
and `decoding`; `stored_copy` keeps the last good copy of a script.

`evaluator` asks a script for the proxies of a URL. `script_context` runs the script in the thread
of `script_thread`, with the functions of ``prelude.js``; `names` looks up the names that the script
needs; `answers` reads the answer. `evaluation` holds the results.
"""
