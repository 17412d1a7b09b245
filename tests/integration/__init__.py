"""Real sockets, files and processes."""
