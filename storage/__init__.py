"""What is kept, and how: Arrow schemas, Parquet shards, snapshots. Imports nothing else of this project."""
