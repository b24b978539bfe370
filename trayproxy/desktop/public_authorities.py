"""The public certificate authorities, to distinguish them from the authority of a company."""

from pathlib import Path


def public_authorities() -> bytes | None:
    """Return Mozilla's list of authorities in PEM, as the installed certifi has it.

    Return None if certifi has another list: Debian and Fedora make it return the system's, which
    contains the authorities of the company.
    """
    # Not at the top: only a test of a profile needs it.
    import certifi

    path = Path(certifi.where())
    if path.resolve().parent != Path(certifi.__file__).resolve().parent:
        return None
    return path.read_bytes()
