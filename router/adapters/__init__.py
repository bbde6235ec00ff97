"""Who we talk to: one folder per outside party. The folders never import each other."""
