"""The formats of other programs' files: change single settings, and nothing else.

`editors` is the entry; each other module is the pure editor of one format. An editor inserts and
replaces parts of the text, so comments, order, line ends and everything else stay as they are.
"""
