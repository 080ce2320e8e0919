"""Training runs made outside this project: read from their folders, stored, and audited."""
