"""The functions of `trayproxy.file_replacement` that journals use."""

from trayproxy.file_replacement import replace_file as write_durably
from trayproxy.file_replacement import set_aside, sync_folder

__all__ = ["set_aside", "sync_folder", "write_durably"]
