"""The services behind the gateway: auth by REST, the messenger by gRPC."""
