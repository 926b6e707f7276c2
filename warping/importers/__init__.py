"""Weights of other projects read key by key: what was loaded, what was missing, what was not expected.

One file a project: it knows its key names, tells its files from others', and says which of our configs they
are. `key_table` does what all of them share, `torch_files` reads the files without running what is in them.
"""
