"""Report changes of the computer's network, on each operating system."""
