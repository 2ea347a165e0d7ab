"""What a server tells of its own work: metrics, traces and log lines, none of them with content, names or secrets."""
