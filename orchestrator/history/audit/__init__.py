"""What a group of imported runs shows and what it leaves open: checks, findings, a proposal."""
