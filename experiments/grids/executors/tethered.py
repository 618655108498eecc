"""A program that ends with the process that started it, however that one ends: ``python -m … MODULE ARGUMENTS``.

Its standard input is the reading end of a pipe that its parent holds the other end of and never writes to. The pipe
ends when the parent closes it, and when the parent is gone: also where it was killed and could end nothing itself.
"""

import os
import runpy
import signal
import sys
import threading


def _end_with_the_parent() -> None:
    # Not sys.stdin: a thread that waits in its buffer's lock would keep the interpreter from ending.
    while os.read(0, 1):
        pass
    if os.getpgrp() == os.getpid():
        # Whatever it has started: loaders, processes of a distributed run.
        os.killpg(0, signal.SIGKILL)
    os.kill(os.getpid(), signal.SIGKILL)


if __name__ == "__main__":
    threading.Thread(target=_end_with_the_parent, daemon=True).start()
    del sys.argv[0]
    runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
