"""The messenger's tables and every statement that reads or writes them."""
