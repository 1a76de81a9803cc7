"""How any service runs. No business word."""
