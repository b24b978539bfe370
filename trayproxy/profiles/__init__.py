"""The profiles: which upstream proxy, and how one signs in to it. Never a secret.

`profile` is the value, `config` all settings together, `validate` reads strictly what a person
types. `store` is the file, `document` its text, `edit` changes that and keeps its comments. This
room imports nothing else of TrayProxy.
"""
