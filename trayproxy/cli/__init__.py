"""The command line: one module for each group of verbs, imported when its verb is used.

A face: it talks to the service through `control`, and without one works on the settings file and
the keyring itself. Data goes to standard output, words for a person to standard error. Texts and
exit codes: ux §5, §7. It may import every room, each as late as it can: `trayproxy status` answers
within 150 ms.
"""
