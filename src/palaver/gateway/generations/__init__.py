"""The public APIs, one package each."""
