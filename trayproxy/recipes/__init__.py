"""Settings of other programs that make them use TrayProxy, and how they are undone."""
