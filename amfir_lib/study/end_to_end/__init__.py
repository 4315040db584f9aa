"""Training through the backbones, the paper's theta_m; frozen features are the study's declared deviation from it."""
