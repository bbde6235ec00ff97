"""The decoder under bytes that nobody would send on purpose: `make fuzz`, and a part of every test run."""
