"""The gateways' streams: sockets, sends, receipts, resumes and reads, in batches."""
