"""The bus and the presence of several replicas, on Redis. Imported only where a Redis is set."""
