"""What happens, in order: gather, decide, apply. Speaks only ports and domain."""
