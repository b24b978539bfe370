"""Find out which user owns the other end of a loopback connection, on each operating system."""
