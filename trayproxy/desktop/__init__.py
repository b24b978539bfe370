"""What differs between operating systems, one module a service of theirs.

The only room that may ask which system it is on. `peers` tells which program a connection belongs
to, `process` starts the service apart from its starter, `terminal` reads from the terminal we were
started from, `shell` and `display` tell what else is there, `window` is what Qt does not know of
windows, `sleep` tells how long the computer has slept, `network` that it has moved to another
network, `owner` whose a connection is, `users` who its users are, `hardening` keeps what a process
knows to itself, `kerberos` keeps libkrb5 to the names of the profiles. It imports no other room.
"""
