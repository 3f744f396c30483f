# Copyright (c) 2026, virtops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Installs pip from the wheel that Python itself carries.

ansible-test downloads get-pip.py from a server of its own for every environment it makes. This stands in its cache
instead, so that the sanity tests need nothing but PyPI.
"""

from __future__ import annotations

import ensurepip
import pathlib
import runpy
import sys

# Debian takes the wheel out of ensurepip and into a package of its own.
PLACES = (pathlib.Path(ensurepip.__file__).parent / "_bundled", pathlib.Path("/usr/share/python-wheels"))
WHEEL = next(wheel for place in PLACES for wheel in place.glob("pip-*.whl"))
ARGUMENTS = [argument for argument in sys.argv[1:] if argument not in ("--no-setuptools", "--no-wheel")]

sys.path.insert(0, str(WHEEL))
sys.argv = [sys.argv[0], "install", *ARGUMENTS]
runpy.run_module("pip", run_name="__main__", alter_sys=True)
