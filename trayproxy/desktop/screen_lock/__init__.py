"""Report whether the screen is locked, on each operating system."""
