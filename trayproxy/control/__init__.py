"""The control protocol between the service and its faces (tray, window, command line).

JSON lines over a socket that only this user can reach; `messages` has every message as a frozen
dataclass. A face owns nothing: it shows what the service tells it and sends what the person wants.
"""
