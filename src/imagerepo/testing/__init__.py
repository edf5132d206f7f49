"""Shipped for tests of the service and of its users (docs/testing.md). `strategies` alone needs hypothesis."""
