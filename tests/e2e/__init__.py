"""Tests that drive a running engine with real containers."""
