"""What measures speed: shapes of load, the server under them, and the reports."""
