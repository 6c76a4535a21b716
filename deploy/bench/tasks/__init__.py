"""`make bench-tasks`: how good the three models are on real data, beside baselines, at several epsilons."""
