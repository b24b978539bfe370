"""``python -m tests.fuzz``: searches for violations of the properties, with libFuzzer (atheris).

atheris is not a dependency of TrayProxy, because it has wheels for few versions of Python. This
program runs where atheris can be installed (``pip install atheris``). The tests check the same
properties with fewer octets.
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
MAX_LENGTH = 4096
SLOW_S = 5
"""Maximum number of seconds of a property for `MAX_LENGTH` octets; a longer run is a fault."""
DICTIONARY = (
    *("\\x0d\\x0a", "\\x0d\\x0a\\x0d\\x0a", "\\x0a", "\\x00", "HTTP/1.1", "HTTP/1.0", "GET "),
    *("CONNECT ", "HEAD ", "OPTIONS ", "TRACE ", "http://", "a:443", "200 OK", "101 x", "407 x"),
    *("Host: a", "Content-Length: ", "Transfer-Encoding: chunked", "Connection: ", "close"),
    *("upgrade", "Upgrade: ", "Expect: 100-continue", "Max-Forwards: 1", "TE: trailers", "Via: "),
    *("Proxy-Authorization: ", "Proxy-Authenticate: ", "Basic realm=", "Digest ", "NTLM "),
    *("Negotiate ", "nonce=", "stale=true", "qop=auth", '\\"', "\\\\", "0\\x0d\\x0a", ";"),
)


def main() -> int:
    """Run the properties in turn; return 1 if any property is violated."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("--seconds", type=int, default=60, help="for all properties together")
    parser.add_argument(
        "--property",
        action="append",
        choices=PROPERTIES,
        metavar="NAME",
        help="run only this property",
    )
    parser.add_argument("--list", action="store_true", help="print the names of all properties")
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
    """Write the seeds and the dictionary for libFuzzer."""
    (folder / "seeds").mkdir()
    for number, octets in enumerate(seeds()):
        (folder / "seeds" / str(number)).write_bytes(octets)
    (folder / "words").write_text("".join(f'"{word}"\n' for word in DICTIONARY))


def holds(name: str, seconds: float, folder: str) -> bool:
    """Return whether libFuzzer finds no violation of the property.

    Octets with a violation are printed and stored in the current folder.
    """
    print(f"== {name}", flush=True)
    run = subprocess.run(
        [
            *(sys.executable, "-m", "tests.fuzz.one", name),
            *(f"-max_total_time={max(1, round(seconds))}", f"-max_len={MAX_LENGTH}"),
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
