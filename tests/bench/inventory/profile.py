# Copyright (c) 2026, virtops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Where the time of an inventory goes: ``python profile.py FILE ansible-inventory ARGUMENTS`` writes seconds by layer to FILE.

A thread looks every few milliseconds at what the main thread is in, and takes the innermost call that belongs to a layer.
It is itself some percent of the run, so these seconds are shares rather than times to compare with others.
"""

from __future__ import annotations

import json
import runpy
import sys
import threading
import time
from types import FrameType

_EVERY = 0.002
IMPORTS, GATHERING, OURS, ANSIBLE, REST = "imports", "gathering", "records to hosts", "Ansible", "the rest"
LAYERS = (IMPORTS, GATHERING, OURS, ANSIBLE, REST)
_GATHER = "guest_agent/plugins/module_utils/_records/gather.py"
_IMPORTING = ("<frozen importlib", "/collection_loader/")
# By what a frame's file name holds, tried for each frame from the innermost on.
_PLACES = (
    ("guest_agent/plugins/", OURS),
    ("/ansible/", ANSIBLE),
    ("/jinja2/", ANSIBLE),
    ("/yaml/", ANSIBLE),
)


def layer(frame: FrameType | None) -> str:
    names = []
    while frame is not None:
        names.append(frame.f_code.co_filename)
        frame = frame.f_back
    if any(part in name for name in names for part in _IMPORTING):
        return IMPORTS
    if any(_GATHER in name for name in names):
        return GATHERING
    return next((found for name in names for part, found in _PLACES if part in name), REST)


def main(file: str, program: str, *arguments: str) -> None:
    seconds = dict.fromkeys(LAYERS, 0.0)
    main_thread, done = threading.get_ident(), threading.Event()

    def look() -> None:
        last = time.monotonic()
        while not done.wait(_EVERY):
            now = time.monotonic()
            seconds[layer(sys._current_frames().get(main_thread))] += now - last
            last = now

    watcher = threading.Thread(target=look, daemon=True)
    watcher.start()
    sys.argv = [program, *arguments]
    try:
        runpy.run_path(program, run_name="__main__")
    finally:
        done.set()
        watcher.join()
        with open(file, "w", encoding="utf-8") as output:
            json.dump(seconds, output)


if __name__ == "__main__":
    main(*sys.argv[1:])
