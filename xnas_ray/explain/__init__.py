"""Why architectures are good: what models, predictors and supernets have learnt, as tables and drawings."""
