# Copyright (c) 2026, virtops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The guests and the two forms of the integration tests, for faults."""

from tests.integration.conftest import (
    ansible,
    debian,
    debians,
    lab,
    options_file,
    pytest_collection_modifyitems,
    pytest_configure,
    pytest_report_collectionfinish,
    start,
)

__all__ = [
    "ansible",
    "debian",
    "debians",
    "lab",
    "options_file",
    "pytest_collection_modifyitems",
    "pytest_configure",
    "pytest_report_collectionfinish",
    "start",
]
