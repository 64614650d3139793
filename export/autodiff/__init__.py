"""Reverse-mode differentiation: the rules, and the state of a sweep that applies them."""
