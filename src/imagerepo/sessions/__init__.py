"""Upload sessions: staging unseen changes, and committing them as one durable step."""
