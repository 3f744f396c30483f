# Copyright (c) 2026, virtops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Prints each task's result as one line of JSON, so that a test sees what a playbook would see."""

from __future__ import annotations

import json
import time
from typing import Any

from ansible.plugins.callback import CallbackBase

DOCUMENTATION = """
name: last_result
type: stdout
short_description: Results as lines of JSON
description: For tests.
extends_documentation_fragment: [default_callback]
"""


class CallbackModule(CallbackBase):
    CALLBACK_VERSION = 2.0
    CALLBACK_TYPE = "stdout"
    CALLBACK_NAME = "last_result"

    def v2_runner_on_ok(self, result: Any) -> None:
        self._show(result)

    def v2_runner_on_failed(self, result: Any, ignore_errors: bool = False) -> None:
        self._show(result, failed=True)

    def v2_runner_on_unreachable(self, result: Any) -> None:
        self._show(result, unreachable=True)

    def v2_runner_on_skipped(self, result: Any) -> None:
        self._show(result, skipped=True)

    def _show(self, result: Any, **how: bool) -> None:
        found = result.result if hasattr(result, "result") else result._result
        where = {"task": result._task.get_name().strip(), "host": result._host.get_name(), "at": time.time()}
        self._display.display(json.dumps({**found, **where, **how}, default=str))
