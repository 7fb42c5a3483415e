"""What should exist: each controller decides in a pure function and acts in a small class around a work queue."""
