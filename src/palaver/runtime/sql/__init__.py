"""SQL databases: one port, its adapters, migrations and compiled queries."""
