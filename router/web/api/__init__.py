"""The API under /v1: its endpoints, what they take and give, and the document that describes them."""
