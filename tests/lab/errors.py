"""What the lab raises."""

from __future__ import annotations


class LabError(Exception):
    """Something the user of the lab can act on; the message is one sentence."""
