"""What the program says of itself: log lines and metrics. Knows no business; writes to the log stream only."""
