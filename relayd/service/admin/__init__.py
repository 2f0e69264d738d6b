"""The admin listener: probes, metrics, live state and actions, for operators and programs."""

from relayd.service.admin.listener import Admin
from relayd.service.admin.readiness import Readiness

__all__ = ["Admin", "Readiness"]
