"""The evaluation of agents, as people look at it: sessions, sources, verdicts, trends, jobs."""
