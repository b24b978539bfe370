"""``python -m tests.fuzz``: looks for octets that break a property, by libFuzzer through atheris.

atheris is no dependency of ours: it has wheels for few versions of Python. Where it installs
(``pip install atheris``), this runs; the same properties are in the tests with less luck.
"""

import argparse
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory

from tests.fuzz.properties import PROPERTIES
from tests.fuzz.seeds import seeds

SOURCES = Path(__file__).parents[2]
LONGEST = 4096
SLOW_S = 5
"""What takes longer for so few octets is a fault, too."""
DICTIONARY = (
    *("\\x0d\\x0a", "\\x0d\\x0a\\x0d\\x0a", "\\x0a", "\\x00", "HTTP/1.1", "HTTP/1.0", "GET "),
    *("CONNECT ", "HEAD ", "OPTIONS ", "TRACE ", "http://", "a:443", "200 OK", "101 x", "407 x"),
    *("Host: a", "Content-Length: ", "Transfer-Encoding: chunked", "Connection: ", "close"),
    *("upgrade", "Upgrade: ", "Expect: 100-continue", "Max-Forwards: 1", "TE: trailers", "Via: "),
    *("Proxy-Authorization: ", "Proxy-Authenticate: ", "Basic realm=", "Digest ", "NTLM "),
    *("Negotiate ", "nonce=", "stale=true", "qop=auth", '\\"', "\\\\", "0\\x0d\\x0a", ";"),
)


def main() -> int:
    """Run the properties one after the other; return 1 if one does not hold."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("--seconds", type=int, default=60, help="for all of them together")
    parser.add_argument(
        "--property", action="append", choices=PROPERTIES, metavar="NAME", help="only this one"
    )
    parser.add_argument("--list", action="store_true", help="print the names of all")
    options = parser.parse_args()
    if options.list:
        print(*PROPERTIES, sep="\n")
        return 0
    if find_spec("atheris") is None:
        print("atheris is not installed: pip install atheris", file=sys.stderr)
        return 2
    names = options.property or list(PROPERTIES)
    with TemporaryDirectory(prefix="fuzz-") as folder:
        prepare(Path(folder))
        broken = [name for name in names if not holds(name, options.seconds / len(names), folder)]
    print(*(f"broken: {name}" for name in broken), sep="\n")
    return 1 if broken else 0


def prepare(folder: Path) -> None:
    """Write what libFuzzer begins with."""
    (folder / "seeds").mkdir()
    for number, octets in enumerate(seeds()):
        (folder / "seeds" / str(number)).write_bytes(octets)
    (folder / "words").write_text("".join(f'"{word}"\n' for word in DICTIONARY))


def holds(name: str, seconds: float, folder: str) -> bool:
    """Try to break one property. What breaks it is left in the present folder, and printed."""
    print(f"== {name}", flush=True)
    run = subprocess.run(
        [
            *(sys.executable, "-m", "tests.fuzz.one", name),
            *(f"-max_total_time={max(1, round(seconds))}", f"-max_len={LONGEST}"),
            *(f"-timeout={SLOW_S}", f"-dict={folder}/words", "-print_final_stats=1"),
            *("-verbosity=1", "-print_pcs=0", "-artifact_prefix=./fuzz-"),
            f"{folder}/seeds",
        ],
        cwd=SOURCES,
        capture_output=True,
        text=True,
        check=False,
    )
    lines = run.stderr.splitlines()
    is_fine = run.returncode == 0
    shown = [line for line in lines if line.startswith("stat::number")] if is_fine else lines[-40:]
    print(*run.stdout.splitlines()[-40:] if not is_fine else (), *shown, sep="\n", flush=True)
    return is_fine


if __name__ == "__main__":
    sys.exit(main())
