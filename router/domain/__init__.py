"""What is true: events, webhooks, matching, retries. Pure values and functions; nothing is awaited or read here."""
