"""Changes to the computer's own settings that can always be undone.

TrayProxy changes settings of the desktop, such as the system proxy. Each change follows the same
order, which holds after a crash or a power failure as well:

1. read the present values (`entries`),
2. write them to the journal, and wait until the journal is on the disk (`journal`),
3. change the settings, and read them back (`apply`),
4. later compare the settings with the values that TrayProxy wrote, and restore only those that
   still are TrayProxy's (`compare`, `restore`). Values that cannot be restored now stay in the
   journal: those of missing parts of a target, such as a disabled network connection, and values
   that would not work, such as the address of a proxy that has ended.

`entries`, `compare` and `record` are pure. `apply` and `restore` take the settings as a
`SettingsTarget`, which `trayproxy.desktop` implements for each desktop. The package uses only the
standard library, because the watchdog process, which restores the settings after a crash, must stay
small.
"""
