"""From features to answers: episodes, training, evaluation, statistics, runs and their cache, configuration."""
