"""The commands of ``xnas``, a module a family; each imports what it needs when it is called."""
