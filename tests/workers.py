"""Worker processes for long hostile runs. They end with their parent, however that ends: Ctrl-C, SIGTERM or kill -9."""

import multiprocessing
import multiprocessing.pool
import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

LOOK_S = 1.0


@contextmanager
def workers(jobs: int) -> Iterator[multiprocessing.pool.Pool]:
    """Yield a pool of fresh interpreters."""
    pool = multiprocessing.get_context("spawn").Pool(jobs, initializer=_end_with, initargs=(os.getpid(),))
    try:
        yield pool
    finally:
        pool.terminate()
        pool.join()


def _end_with(parent: int) -> None:
    threading.Thread(target=_watch, args=(parent,), daemon=True).start()


def _watch(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(LOOK_S)
    os._exit(1)
