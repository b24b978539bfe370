"""Find the program at the other end of a loopback connection, on each operating system."""
