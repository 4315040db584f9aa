"""What extraction and training cost: measured per clip, and planned for the real benchmarks."""
