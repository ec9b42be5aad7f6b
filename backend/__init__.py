"""Mien's backend: footage to landmarks to a fitted head, on the command line or as a service."""
