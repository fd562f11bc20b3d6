"""What can be searched: choices, genotypes, keys, graphs and analytic costs; no torch."""
