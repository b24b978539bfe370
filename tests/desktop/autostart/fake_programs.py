"""Programs that exist only for a test."""

from pathlib import Path


class FakePrograms:
    """Finds the files of a folder as programs, on every system."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def add(self, name: str) -> Path:
        """Create a program in the folder."""
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("", "utf-8")
        return path

    def find(self, name: str) -> str | None:
        """Find a program by its path, or a name on the PATH, which is the folder."""
        path = self.folder / name
        return str(path) if path.is_file() else None
