"""The replicas of a service, as its callers see them: where they are, which failed, which to try first."""
