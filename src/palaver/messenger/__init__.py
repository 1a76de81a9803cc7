"""What was said: chats, members, messages, receipts."""
