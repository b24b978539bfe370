"""Reports that the settings of the system proxy may have changed."""
