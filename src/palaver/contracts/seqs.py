"""Seqs: the places of a chat's messages, 1, 2, 3 … without holes."""

# What a signed 64-bit column of a database holds
LAST_SEQ = 2**63 - 1
