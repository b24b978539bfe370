"""Counts and logs refused connections of other devices."""

import logging
from collections.abc import Callable
from time import time

from trayproxy.control.messages import RefusedDevices

logger = logging.getLogger(__name__)

LOG_INTERVAL_S = 60.0
"""Minimum number of seconds between two log lines about one device."""
MAX_DEVICES = 100
"""Maximum number of devices with a time of their last log line; more devices discard the times."""


class RefusedDeviceCounter:
    """Counts each refused connection, and logs at most one a minute for each device."""

    def __init__(
        self, clock: Callable[[], float], on_change: Callable[[RefusedDevices], None]
    ) -> None:
        """Create a counter; `on_change` receives the totals after each refused connection."""
        self._clock = clock
        self._on_change = on_change
        self._count = 0
        self._logged_at: dict[str, float] = {}

    def record(self, address: str) -> None:
        """Record a refused connection of the device with this IP address."""
        self._count += 1
        now = self._clock()
        if now - self._logged_at.get(address, -LOG_INTERVAL_S) >= LOG_INTERVAL_S:
            if len(self._logged_at) >= MAX_DEVICES:
                self._logged_at.clear()
            self._logged_at[address] = now
            logger.warning("refused a connection of the device %s (TP-115)", address)
        self._on_change(RefusedDevices(self._count, address, time()))
