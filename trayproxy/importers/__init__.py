"""Finds proxy settings of other programs, to be imported as profiles.

Each parser is a pure function from the text of a file, or from the environment, to `found.Found`.
`search` reads the files of this computer, and `plan` decides which profiles are new.
"""
