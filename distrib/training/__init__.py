"""What all engines share: steps, windows, evaluation, device transfer."""
