"""Tools of the repository. Not part of what is installed."""
