"""Requests of TrayProxy's own: trying a profile or a login, without a client that sent them."""
