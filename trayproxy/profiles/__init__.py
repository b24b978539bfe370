"""The profiles: which upstream proxy, and how one signs in to it. Never a secret.

`profile` is the value, `store` its TOML file. This room imports nothing else of TrayProxy.
"""
