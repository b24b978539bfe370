"""The sign-in desk: decides which login a request carries, prompts the user, and verifies logins.

`desk` runs the state machine of `trayproxy.desk.machine` on an event loop. The machine decides; it
gets the time as an argument and does no I/O.

Around it:

- `broker`: the interface of the desk for the engine, which imports only `broker`, `credentials` and
`protection_space`.
- `credentials`: the credentials for a request, and the future on which a request waits for them.
- `challenge_reader`: translates challenges and schemes into values of the machine.
- `desk_broker`: implements `broker`; the waiting requests and their programs.
- `machine_loop`: hands events to the machine, and sets a timer for its deadlines.
- `own_requests`: runs the requests by which a login is verified.
- `prompt_feed`: publishes changes of prompts to the front ends.
- `problems`: the texts of failed sign-ins.
- `protection_space`: identities of upstreams, protection spaces and logins.
- `rejected_logins`: keyed fingerprints of this run's rejected logins.
- `keyring_io`: calls the credential store for the machine.
- `history`: the records of this run and of earlier runs (``sign-in.json``), with the values of
`history_records`.
- `credential_store`: the interface of a store for logins; `keyring_store` implements it with the
operating system's keyring, with the help of `secret_service` and `keyring_errors`.

The package imports `trayproxy.auth`, `trayproxy.http.challenges`, `trayproxy.identity`,
`trayproxy.domain`, `trayproxy.file_replacement` and `trayproxy.profiles.profile`. Only
`keyring_store` imports the keyring library.
"""
