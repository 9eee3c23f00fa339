"""Features on disk: a sharded store, and the verb that fills it."""
