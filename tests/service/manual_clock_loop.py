"""An event loop for tests with a manual clock."""

import asyncio


class ManualClockLoop(asyncio.SelectorEventLoop):
    """An event loop with a clock that only the test advances."""

    now = 1000.0

    def time(self) -> float:
        return self.now
