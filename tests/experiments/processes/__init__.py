"""Runs that are killed, and runs on two processes."""
