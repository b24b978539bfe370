"""The system's own proxy setting as it was before TrayProxy, one module for each system."""
