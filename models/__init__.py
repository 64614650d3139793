"""Shipped artifacts: the VGG-19 weights, the graphs that use them and their manifest."""
