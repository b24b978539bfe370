"""The decisions of the sign-in desk: a pure state machine, without I/O and without a clock."""
