"""Making a change of a folder durable: a new or renamed file is there after a power failure only once its folder is synced."""

import os
from pathlib import Path


def sync_directory(directory: Path) -> None:
    """Sync a folder's entries to disk."""
    handle = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
