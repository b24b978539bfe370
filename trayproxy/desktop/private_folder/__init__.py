"""Make a folder private to its user where the mode of the folder does not do so."""
