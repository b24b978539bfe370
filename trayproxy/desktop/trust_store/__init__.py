"""The certificate authorities that the system trusts, one module for each operating system."""
