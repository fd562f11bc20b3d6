"""Differentiable searches: networks that contain every architecture of a space, and what is read off them."""
