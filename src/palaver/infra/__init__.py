"""The engines of a deployment: one MySQL, six ClickHouse nodes, one Redis."""
