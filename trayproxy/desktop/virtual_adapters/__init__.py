"""The addresses of this computer on its networks, and on the virtual networks of containers."""
