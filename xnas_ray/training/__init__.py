"""How one candidate is trained."""
