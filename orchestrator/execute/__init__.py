"""Training of planned packs: options, backends, progress display, records, orderly stops."""
