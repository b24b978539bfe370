"""Runs pacparser for the tests, in a process of its own: pacparser has one global engine.

Reads a JSON array ``[script, url, host, own address]`` from each line of standard input, and writes
the answer as JSON on one line; null if pacparser refuses the script.
"""

import json
import sys

import pacparser


def main() -> None:
    """Answer each line."""
    for line in sys.stdin:
        script, url, host, own_address = json.loads(line)
        pacparser.init()
        try:
            pacparser.setmyip(own_address)
            pacparser.parse_pac_string(script)
            answer = pacparser.find_proxy(url, host)
        except Exception:  # noqa: BLE001
            # The library raises exceptions of many types, and writes the reason to standard error.
            answer = None
        finally:
            pacparser.cleanup()
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main()
