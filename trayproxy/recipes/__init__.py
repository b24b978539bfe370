"""Recipes: make a program use TrayProxy by the program's own setting, and undo that.

A recipe is data, one file for each program in the folder ``data`` (`recipe` is the schema,
`catalogue` reads the files). From a recipe and the local address follow the files to change on this
computer (`targets`, `placeholders`), and from the present contents of a file the changed contents
(`plan`, with the editors in `formats` and the differences in `spans`). `journal` stores how to undo
a change, and `apply` changes and restores the files.

Only `journal` and `apply` do I/O, and `catalogue` reads the package's own data files.
"""
