"""Answer the rows of a table with one version, by pandas or Spark."""
