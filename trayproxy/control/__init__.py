"""The control protocol between the service and its front ends (tray, window, command line).

Messages are JSON lines over a connection that only this user can open; `messages` defines each
message as a frozen value. A front end owns no state: it shows the state of the service and sends
the user's requests.
"""
