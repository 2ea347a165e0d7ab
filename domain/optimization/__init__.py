"""How a prompt was optimised: the run's events, its decisions and the effect of each change."""
