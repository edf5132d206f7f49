"""Store against database: what is on one side only is found, shown, and deleted by rules that spare what lives."""
