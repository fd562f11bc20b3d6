"""Controllers inside other people's tools; nothing here is imported unless you ask for it."""
