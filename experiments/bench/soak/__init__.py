"""A soak of resuming: short random runs, stopped at random moments, must end as runs that never were."""
