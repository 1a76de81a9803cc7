"""gRPC: the server, how errors cross it, and how its calls are measured."""
