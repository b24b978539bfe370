"""The choice of the profile for a network, without I/O.

`networks` decides from the facts of a network and the profiles. This package imports
`trayproxy.profiles` and the value of a network, and nothing else of TrayProxy.
"""
