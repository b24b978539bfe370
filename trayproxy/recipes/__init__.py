"""Recipes: make a program use TrayProxy by the program's own setting, and undo that.

A recipe is a data file in the folder ``data``; `recipe` has the schema, and `catalogue` reads the
files. `targets` and `placeholders` find the files to change on this computer and their settings.
`plan` computes the new contents of a file, with the editors in `formats` and the differences in
`spans`. `journal` stores the changes, so that `apply` can undo them.

Only `journal` and `apply` do I/O, and `catalogue` reads the package's own data files.
"""
