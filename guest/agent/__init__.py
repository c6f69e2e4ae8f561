"""Bulkhead's guest agent; see main.py."""
