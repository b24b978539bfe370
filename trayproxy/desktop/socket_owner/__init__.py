"""Find the user who owns the other end of a loopback connection, on each operating system."""
