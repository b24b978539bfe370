"""An engine with few descriptors, in a separate process, because the limit is per process.

    python -m tests.engine.few_descriptors UPSTREAM_PORT DESCRIPTORS [UPSTREAM_HOST]

It prints its port, and ends when its standard input does.
"""

import resource
import sys

from tests.engine.fakes import office
from tests.engine.running import Running


def main() -> None:
    host = sys.argv[3] if len(sys.argv) > 3 else "127.0.0.1"
    with Running(office(int(sys.argv[1]), host=host)) as engine:
        limit = int(sys.argv[2])
        resource.setrlimit(resource.RLIMIT_NOFILE, (limit, limit))
        print(engine.port, flush=True)
        sys.stdin.read()
        print(",".join(page.code for page in engine.observer.failures), flush=True)


if __name__ == "__main__":
    main()
