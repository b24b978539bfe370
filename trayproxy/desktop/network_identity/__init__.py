"""Read to which network this computer is connected, on each operating system."""
