"""Bounds that every service keeps."""

# The largest seq, position and count: a signed integer of 64 bits, as protobuf and databases hold it
LARGEST_INTEGER = 2**63 - 1
