"""Shipped for property tests of the service and of its users: failpoints and a real Swift."""
