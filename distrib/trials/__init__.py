"""What a trial is and what it writes: names, directories, remote results, provenance."""
