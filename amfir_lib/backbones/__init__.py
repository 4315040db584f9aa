"""Feature extractors: from frames and flow fields to features of patches."""
