"""HTTP: the server, the private REST client, and what every service's requests pass through."""
