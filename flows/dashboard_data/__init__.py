"""What report and App show, gathered from shards, calibration and reviews."""
