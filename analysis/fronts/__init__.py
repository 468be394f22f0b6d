"""Who dominates whom, without a formula."""
