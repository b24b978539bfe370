"""Values that the desk, the control protocol and the front ends share.

`signin` defines sign-in states, the prompt and its parts; `problem` defines problems for the user
and exit codes. The package imports only `trayproxy.auth.login` and `trayproxy.profiles.profile`.
"""
