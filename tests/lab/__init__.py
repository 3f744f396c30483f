"""Real guests for tests: tiny and Debian domains under libvirt, without KVM, without a network."""

from .errors import LabError
from .guest import Guest
from .lab import Lab

__all__ = ["Guest", "Lab", "LabError"]
