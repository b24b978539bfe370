"""Forward a request to its next hop and relay the response to the client."""
