"""Other trackers' files: one file a format, reading and writing; nothing untrusted is unpickled."""
