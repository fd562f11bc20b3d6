"""Torch modules that spaces build."""
