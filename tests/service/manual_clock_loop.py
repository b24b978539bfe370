"""An event loop for tests with a manual clock."""

import asyncio


class ManualClockLoop(asyncio.SelectorEventLoop):
    """An event loop with a clock that only the test advances."""

    now = 1000.0

    def time(self) -> float:
        return self.now

    def run_ready(self) -> None:
        """Run the tasks that wait for nothing: they need a few iterations of the loop."""
        for _ in range(4):
            self.run_until_complete(asyncio.sleep(0))
