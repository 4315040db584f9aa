"""What the paper leaves open, measured (notebook 09): choices, their runs, scores that pick a modality, calibration."""
