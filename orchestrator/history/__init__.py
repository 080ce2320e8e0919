"""A group's earlier training runs, made elsewhere: read as they lie, kept, and audited."""
