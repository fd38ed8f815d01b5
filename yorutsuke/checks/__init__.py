"""Whether a stage is healthy: each module looks at one part of it, and says what to do about what it finds."""
