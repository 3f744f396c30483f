# Copyright (c) 2026, virtops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""transfer.py OPTIONS LOCAL REMOTE BACK: puts a file into a guest and fetches it again, and says what memory that took.

A process of its own, so that a test can look at its memory and end it.
"""

from __future__ import annotations

import json
import resource
import sys
import time

from ansible.playbook.play_context import PlayContext
from ansible.plugins.loader import connection_loader, init_plugin_loader


def _peak_mib() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def main() -> None:
    options, local, remote, back = sys.argv[1:]
    init_plugin_loader([])
    connection = connection_loader.get("virtops.guest_agent.agent", PlayContext(), None)
    connection.set_options(var_options=json.loads(options))
    assert connection.exec_command("true")[0] == 0
    before = _peak_mib()
    started = time.monotonic()
    connection.put_file(local, remote)
    middle = time.monotonic()
    if back:
        connection.fetch_file(remote, back)
    ended = time.monotonic()
    connection.close()
    json.dump({"grown_mib": _peak_mib() - before, "put_seconds": middle - started, "fetch_seconds": ended - middle}, sys.stdout)


if __name__ == "__main__":
    main()
