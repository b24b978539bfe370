"""The command line: one module for each group of verbs, imported when its verb is used.

The command line is a front end: it sends requests to the service through `control`; if no service
is running, it changes the settings file and the keyring itself. Data goes to standard output,
messages for the user go to standard error. The module of a verb declares the arguments of the verb.
Texts and exit codes: ux §5, §7. The modules import other packages as late as possible, because
`trayproxy status` must respond within 150 ms.
"""
