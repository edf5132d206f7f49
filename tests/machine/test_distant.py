"""The store of the machine is its story's own, whatever the kernel does to the threads of the stories before."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

from tests.waiting import until

STORIES = """
import io, os, sys, threading
from pathlib import Path
from imagerepo.store.memory import MemoryStore
from tests.machine.distant import Counter, DistantStore

def everybody_asks(counter, name):
    asking = [threading.Thread(target=DistantStore(counter.address).stat, args=[name]) for _ in range(4)]
    for each in asking:
        each.start()
    for each in asking:
        each.join()

threading.excepthook = lambda raised: os._exit(3)
for number in range(6):
    store, name = MemoryStore(), f"images/{number:064}"
    store.put(name, io.BytesIO(b"here"), media_type="x/y")
    counter = Counter(store, f"{sys.argv[1]}/{number}")
    everybody_asks(counter, name)
    if number == 5:
        sys.stdout.write("ready")
        sys.stdout.flush()
        sys.stdin.read(1)
        everybody_asks(counter, name)
    counter.close()
os._exit(0)
"""


def test_a_store_that_is_closed_takes_no_connection_of_the_next(tmp_path: Path) -> None:
    """Not after a stop either, when the kernel begins every waiting call again."""
    command = [sys.executable, "-c", STORIES, str(tmp_path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as stories:
        assert stories.stdin and stories.stdout
        assert stories.stdout.read(len("ready")) == "ready"
        stories.send_signal(signal.SIGSTOP)
        until(lambda: state_of(stories.pid) == "T")
        stories.send_signal(signal.SIGCONT)
        until(lambda: state_of(stories.pid) != "T")
        stories.stdin.write("!")
        stories.stdin.flush()
        assert stories.wait(30) == 0


def state_of(pid: int) -> str:
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
