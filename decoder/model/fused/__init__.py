"""GRU layers over packed rows: the valid patches alone, in one fused kernel a time step."""
