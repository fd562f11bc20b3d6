"""Ray: the head, its controllers and its workers."""
