"""Use the jobs of the service without HTTP: a queue, processes that paint, and the pictures.

Usage: embedded.py CONTENT STYLE OUTPUT [FOLDER]    (pip install '.[cpu,serve]' in a checkout)
"""

from __future__ import annotations

import sys
import threading
from pathlib import Path

from ortist.serve import Manager, Order


def paint(content: Path, style: Path, output: Path, folder: Path) -> None:
    """Paint one picture, tell of its steps, and keep it."""
    order = Order(recipe="draft", options={"size": 128}, content="photo", styles=("painting",))
    changed = threading.Event()
    with Manager(folder) as manager:
        job = manager.submit(order, {"photo": content, "painting": style})
        told = 0
        with manager.listening(job.id, changed.set):
            while True:
                changed.clear()
                state = manager.view(job.id)
                for step in manager.steps(job.id, told):
                    told += 1
                    print(f"{step['step']} of {step['steps']}: J = {step['costs']['total']:.4g}")
                if state.state in ("done", "canceled", "failed"):
                    break
                changed.wait()
        if state.error:
            print(f"{state.state}: {state.error}")
        if state.result:
            manager.write_result(job.id, output)
        manager.remove(job.id)


if __name__ == "__main__":  # the processes that paint import this file
    paint(*map(Path, [*sys.argv[1:4], *(sys.argv[4:] or ["jobs"])]))
