"""Who proposes: searches that never wait, and whose state is a function of their seed and the rows told."""
