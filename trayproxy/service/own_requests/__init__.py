"""TrayProxy's own requests, which test a profile or verify a login without a client's request."""
