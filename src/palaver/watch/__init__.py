"""What services have written down about their work: read, and drawn for people. Nothing is changed."""
