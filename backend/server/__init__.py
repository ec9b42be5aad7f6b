"""The service: a supervisor without torch, one worker process per device, results on disk."""
