"""Profiles and settings: the upstream proxies and how to sign in to them. They contain no secrets.

`profile` defines a profile and `config` the settings. `validate` checks user input strictly.
`store` reads and writes the settings file, `document` parses its text, and `edit` changes the text
without losing comments. This package imports no other package of TrayProxy.
"""
