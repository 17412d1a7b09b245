"""kill -9 of a real node process at random points under load: it loses nothing that it has told anyone."""
