"""How a process behaves that works long beside a server: it gives way, and it does not outlive the server."""

from __future__ import annotations

import os
import threading
import time

POLITENESS = 10
"""By which the priority of the process is lowered; see nice(1)."""
WATCH_SECONDS = 1.0


def be_polite() -> None:
    """Lower this process's priority, and leave one core to the others.

    A variable such as OMP_NUM_THREADS may leave them more.
    """
    import torch  # which whoever only watches its parent need not load

    if hasattr(os, "nice"):
        os.nice(POLITENESS)
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    torch.set_num_threads(max(1, min(torch.get_num_threads(), cores - 1)))


def end_with_parent() -> None:
    """End this process once its parent has ended, even when killed: a new server would start a second training.

    What the training has reached by then is in its last checkpoint.
    """
    parent = os.getppid()

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(WATCH_SECONDS)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
