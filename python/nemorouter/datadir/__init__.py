"""Know the data directory: the places of its files, the locks on them, the notes of processes."""
